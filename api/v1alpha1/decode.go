package v1alpha1

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// One object that does not decode makes every list and watch of its kind fail. So spec and status decode any content of etcd: the objects
// that the custom resource definition admits, and those that an earlier definition admitted, which are not validated again. An invalid
// value counts as absent.

// UnmarshalJSON decodes a spec. It does not fail on JSON that is valid.
func (s *WebhookEventSpec) UnmarshalJSON(data []byte) error {
	type plain WebhookEventSpec
	fields := struct {
		*plain
		ReceivedAt anyTime `json:"receivedAt"`
	}{plain: (*plain)(s)}
	decode(data, &fields)
	s.ReceivedAt = metav1.MicroTime(fields.ReceivedAt)
	return nil
}

// UnmarshalJSON decodes a status. It does not fail on JSON that is valid.
func (s *WebhookEventStatus) UnmarshalJSON(data []byte) error {
	type plain WebhookEventStatus
	fields := struct {
		*plain
		NextAttemptTime anyTime        `json:"nextAttemptTime"`
		StartTime       anyTime        `json:"startTime"`
		CompletionTime  anyTime        `json:"completionTime"`
		Conditions      []anyCondition `json:"conditions"`
	}{plain: (*plain)(s)}
	decode(data, &fields)
	s.NextAttemptTime = (*metav1.Time)(fields.NextAttemptTime.orNil())
	s.StartTime = (*metav1.MicroTime)(fields.StartTime.orNil())
	s.CompletionTime = (*metav1.MicroTime)(fields.CompletionTime.orNil())
	s.Conditions = nil
	for _, c := range fields.Conditions {
		// The API server refuses a status with a condition that has no type or no time.
		if c.Type != "" && !c.LastTransitionTime.IsZero() {
			s.Conditions = append(s.Conditions, metav1.Condition(c))
		}
	}
	return nil
}

// decode decodes every value that has the right type. The decoder skips the others and reports an error at the end. The UnmarshalJSON
// methods that it calls must not fail.
func decode(data []byte, into any) {
	_ = utiljson.Unmarshal(data, into)
}

// anyCondition is a condition that decodes from any JSON.
type anyCondition metav1.Condition

func (c *anyCondition) UnmarshalJSON(data []byte) error {
	type plain anyCondition
	fields := struct {
		*plain
		LastTransitionTime anyTime `json:"lastTransitionTime"`
	}{plain: (*plain)(c)}
	decode(data, &fields)
	c.LastTransitionTime = metav1.Time(fields.LastTransitionTime)
	return nil
}

// anyTime is a time that decodes from every form of RFC 3339, and from any other JSON as the zero time.
type anyTime struct{ time.Time }

func (t *anyTime) UnmarshalJSON(data []byte) error {
	var text string
	decode(data, &text)
	// RFC 3339 allows a small t and z; time.Parse does not.
	if parsed, err := time.Parse(time.RFC3339, strings.ToUpper(text)); err == nil {
		t.Time = parsed.Local()
	}
	return nil
}

func (t anyTime) orNil() *anyTime {
	if t.IsZero() {
		return nil
	}
	return &t
}
