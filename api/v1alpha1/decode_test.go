package v1alpha1_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
)

// encodedEvent is a WebhookEvent as the relay and the controller write it.
const encodedEvent = `{"kind":"WebhookEvent","apiVersion":"webhooks.dfmiddleware.io/v1alpha1",` +
	`"metadata":{"name":"ghl-0193a5e4-7c1e-7d52-9b0e-1f0a3c5d7e91","namespace":"verity-sync"},` +
	`"spec":{"eventID":"0193a5e4-7c1e-7d52-9b0e-1f0a3c5d7e91","source":"ghl","eventType":"appointment.created","entityType":"appointment",` +
	`"entityID":"0TkCdp9PfvLeWKYRRvIz","locationID":"ve9EPM428h8vShlRW1KT","contactID":"9NkT25Vor1v4aQatFsv2",` +
	`"receivedAt":"2026-11-23T10:00:00.123456Z"},` +
	`"status":{"phase":"Pending","attempts":2,"nextAttemptTime":"2026-11-23T10:00:09Z","startTime":"2026-11-23T10:00:04.000100Z",` +
	`"observedGeneration":1,"conditions":[{"type":"Ready","status":"False","observedGeneration":1,` +
	`"lastTransitionTime":"2026-11-23T10:00:04Z","reason":"RetryScheduled","message":"attempt 2 of 12 failed"}]}}`

func TestWebhookEventIsUnchangedAfterDecodeAndEncode(t *testing.T) {
	t.Parallel()
	var e v1alpha1.WebhookEvent
	require.NoError(t, utiljson.Unmarshal([]byte(encodedEvent), &e))
	// Independent of the machine's time zone.
	e.Spec.ReceivedAt.Time, e.Status.StartTime.Time = e.Spec.ReceivedAt.UTC(), e.Status.StartTime.UTC()
	written, err := json.Marshal(&e)
	require.NoError(t, err)
	assert.Equal(t, encodedEvent, string(written))
}

func TestTimesDecodeFromEveryFormOfRFC3339(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-11-23T10:00:00Z":                at,
		"2026-11-23t10:00:00z":                at,
		"2026-11-23T10:00:00.5Z":              at.Add(500 * time.Millisecond),
		"2026-11-23T10:00:00.123Z":            at.Add(123 * time.Millisecond),
		"2026-11-23T10:00:00.123456Z":         at.Add(123456 * time.Microsecond),
		"2026-11-23T10:00:00.123456789Z":      at.Add(123456789),
		"2026-11-23T10:00:00.1234567891234Z":  at.Add(123456789),
		"2026-11-23T15:30:00+05:30":           at,
		"2026-11-23T02:00:00.25-08:00":        at.Add(250 * time.Millisecond),
		"2026-11-23T10:00:00-00:00":           at,
		"2026-11-23T10:00:00ZTrubbish":        {},
		"2026-11-23T10:00:00+99:99":           {},
		"2026-11-23 10:00:00Z":                {},
		"now":                                 {},
		"":                                    {},
		"9999-12-31T23:59:59.999999999+00:00": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			quoted, err := json.Marshal(text)
			require.NoError(t, err)
			var e v1alpha1.WebhookEvent
			require.NoError(t, utiljson.Unmarshal([]byte(`{"spec":{"source":"ghl","receivedAt":`+string(quoted)+`},"status":{"phase":"Done",`+
				`"nextAttemptTime":`+string(quoted)+`,"startTime":`+string(quoted)+`,"completionTime":`+string(quoted)+`,"conditions":[`+
				`{"type":"Ready","lastTransitionTime":`+string(quoted)+`},{"type":"Synced","lastTransitionTime":"2026-11-23T10:00:00Z"}]}}`), &e))
			assert.Equal(t, "ghl", e.Spec.Source)
			assert.Equal(t, v1alpha1.PhaseDone, e.Status.Phase)
			assert.True(t, want.Equal(e.Spec.ReceivedAt.Time), e.Spec.ReceivedAt)
			if want.IsZero() {
				assert.Nil(t, e.Status.NextAttemptTime)
				assert.Nil(t, e.Status.StartTime)
				assert.Nil(t, e.Status.CompletionTime)
				require.Len(t, e.Status.Conditions, 1, "a condition without a time is dropped")
				assert.Equal(t, "Synced", e.Status.Conditions[0].Type)
				return
			}
			assert.True(t, want.Equal(e.Status.NextAttemptTime.Time))
			assert.True(t, want.Equal(e.Status.StartTime.Time))
			assert.True(t, want.Equal(e.Status.CompletionTime.Time))
			require.Len(t, e.Status.Conditions, 2)
			assert.True(t, want.Equal(e.Status.Conditions[0].LastTransitionTime.Time))
		})
	}
}

func TestInvalidValueIsAbsentAndOtherFieldsAreNot(t *testing.T) {
	t.Parallel()
	for _, invalid := range []string{`null`, `12`, `1.5`, `1e400`, `99999999999999999999`, `true`, `"text"`, `[]`, `[null]`, `[[1]]`, `{}`, `{"a":{}}`} {
		for _, field := range []string{"eventID", "suspend", "receivedAt"} {
			var e v1alpha1.WebhookEvent
			require.NoError(t, utiljson.Unmarshal([]byte(`{"spec":{"source":"ghl","`+field+`":`+invalid+`,"eventType":"x"}}`), &e), "%s: %s", field, invalid)
			assert.Equal(t, "ghl", e.Spec.Source)
			assert.Equal(t, "x", e.Spec.EventType)
		}
		for _, field := range []string{
			"attempts", "observedGeneration", "nextAttemptTime", "startTime", "completionTime", "conditions", "result",
		} {
			var e v1alpha1.WebhookEvent
			require.NoError(t, utiljson.Unmarshal([]byte(`{"status":{"phase":"Done","`+field+`":`+invalid+`,"lastHandledReplay":"x"}}`), &e), "%s: %s", field, invalid)
			assert.Equal(t, v1alpha1.PhaseDone, e.Status.Phase)
			assert.Equal(t, "x", e.Status.LastHandledReplay)
		}
		for _, field := range []string{"spec", "status"} {
			var list v1alpha1.WebhookEventList
			require.NoError(t, utiljson.Unmarshal([]byte(`{"items":[{"`+field+`":`+invalid+`},`+encodedEvent+`]}`), &list), "%s: %s", field, invalid)
			assert.Equal(t, "appointment.created", list.Items[1].Spec.EventType)
		}
	}
}

// client-go decodes an answer into the object that was sent.
func TestDecodeRemovesAbsentFields(t *testing.T) {
	t.Parallel()
	now := metav1.NowMicro()
	e := v1alpha1.WebhookEvent{Status: v1alpha1.WebhookEventStatus{CompletionTime: &now, Conditions: []metav1.Condition{{Type: "Ready"}}}}
	require.NoError(t, utiljson.Unmarshal([]byte(`{"status":{"phase":"Pending"}}`), &e))
	assert.Nil(t, e.Status.CompletionTime)
	assert.Empty(t, e.Status.Conditions)
}

func BenchmarkDecode(b *testing.B) {
	for b.Loop() {
		var e v1alpha1.WebhookEvent
		if err := utiljson.Unmarshal([]byte(encodedEvent), &e); err != nil {
			b.Fatal(err)
		}
	}
}
