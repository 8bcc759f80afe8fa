package relay

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// The bounds of the API, in characters.
const (
	maxSource     = 32
	maxEventType  = 128
	maxEntityType = 64
	maxID         = 256
)

// source is the pattern of spec.source.
var source = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// unfit returns why no WebhookEvent can ever be created for a row, nil if one can. It applies the API's own rules to everything that
// webhookEventOf does not make valid. So an object that the API server still refuses is valid, and the refusal has another cause.
func unfit(row store.EventMeta) error {
	if !source.MatchString(row.Source) || utf8.RuneCountInString(row.Source) > maxSource {
		return fmt.Errorf("its source %.64q is not a name of at most %d characters out of a-z, 0-9 and -", row.Source, maxSource)
	}
	if year := row.ReceivedAt.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("its time of receipt is in the year %d", year)
	}
	return nil
}

// webhookEventOf returns the WebhookEvent of a row: bounded ids, and only valid labels. Rows of the legacy middleware and of earlier
// releases have ids as received: kubectl's columns get their visible characters.
func webhookEventOf(row store.EventMeta, namespace, installation string) *v1alpha1.WebhookEvent {
	e := &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{
			Name: v1alpha1.NameOf(row.Source, row.ID.String()), Namespace: namespace,
			Labels: map[string]string{v1alpha1.InstallationLabel: installation},
		},
		Spec: v1alpha1.WebhookEventSpec{
			EventID:    row.ID.String(),
			Source:     row.Source,
			EventType:  bounded(row.EventType, maxEventType, event.TypeUnknown),
			EntityType: bounded(row.EntityType, maxEntityType, event.TypeUnknown),
			EntityID:   bounded(row.EntityID, maxID, ""),
			LocationID: bounded(row.LocationID, maxID, ""),
			ContactID:  bounded(row.ContactID, maxID, ""),
			ReceivedAt: metav1.NewMicroTime(row.ReceivedAt.UTC()),
		},
	}
	for label, value := range map[string]string{
		v1alpha1.SourceLabel: row.Source, v1alpha1.EventTypeLabel: row.EventType, v1alpha1.EntityTypeLabel: row.EntityType,
		v1alpha1.LocationLabel: row.LocationID,
	} {
		if value != "" && len(validation.IsValidLabelValue(value)) == 0 {
			e.Labels[label] = value
		}
	}
	return e
}

// bounded returns the visible characters of s, at most limit of them, or otherwise if there are none.
func bounded(s string, limit int, otherwise string) string {
	s = strings.TrimSpace(event.Visible(s))
	if s == "" {
		return otherwise
	}
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit])
}
