package v1alpha1

import (
	"fmt"
	"strings"
)

// ReplayRequest returns the value of the annotation replay-requested-at that has not been answered yet, "" if there is none. It has no NUL
// characters, which an annotation may have and Postgres does not store.
func (e *WebhookEvent) ReplayRequest() string {
	request := strings.ReplaceAll(e.Annotations[ReplayRequestedAtAnnotation], "\x00", "")
	if request == e.Status.LastHandledReplay {
		return ""
	}
	return request
}

// ReplayFrom reads where a replay begins, as the annotation replay-from and the flag --from of `verity-sync replay` say it: at the start,
// whatever the case of the word, or where nothing is said at what has not been done. Any other value is an error.
func ReplayFrom(value string) (start bool, err error) {
	switch {
	case value == "":
		return false, nil
	case strings.EqualFold(value, ReplayFromStart):
		return true, nil
	default:
		return false, fmt.Errorf("expected %s or nothing, got %.64q", ReplayFromStart, value)
	}
}
