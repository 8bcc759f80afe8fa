package receiver

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// For each kind of refusal, the log gets logBurst lines at once and then one every logInterval.
const (
	logBurst    = 5
	logInterval = 10 * time.Second
)

// throttle bounds the log lines about refusals: it admits a few of each kind and counts the others.
type throttle struct {
	mu    sync.Mutex
	kinds map[string]*throttled
}

type throttled struct {
	limiter    *rate.Limiter
	suppressed int
}

func newThrottle() *throttle { return &throttle{kinds: map[string]*throttled{}} }

// admit reports whether a line of that kind may be written, and how many were suppressed since the last one. There must be few kinds.
func (t *throttle) admit(kind string) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kinds[kind]
	if k == nil {
		k = &throttled{limiter: rate.NewLimiter(rate.Every(logInterval), logBurst)}
		t.kinds[kind] = k
	}
	if !k.limiter.Allow() {
		k.suppressed++
		return 0, false
	}
	suppressed, k.suppressed = k.suppressed, 0
	return suppressed, true
}
