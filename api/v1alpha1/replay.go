package v1alpha1

import (
	"fmt"
	"strings"
)

// ReplayRequest returns the value of the annotation replay-requested-at, or "" if the request was handled or there is none. It removes NUL
// characters, which an annotation may have and Postgres does not store.
func (e *WebhookEvent) ReplayRequest() string {
	request := strings.ReplaceAll(e.Annotations[ReplayRequestedAtAnnotation], "\x00", "")
	if request == e.Status.LastHandledReplay {
		return ""
	}
	return request
}

// ReplayFrom parses the annotation replay-from and the flag --from of `verity-sync replay`. It returns true if the replay repeats every
// operation, and false for an empty value: the replay runs only the operations that are not done. Any other value is an error.
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
