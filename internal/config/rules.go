package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/webhooksink"
)

// minRetention is longer than the 30 days in which GHL can resend a webhook on request: without its row, a resent webhook
// would be accepted as a new event.
const minRetention = 31 * day

func (r Receiver) validate() []Problem {
	var rules rules
	positive(&rules, "MAX_LIVE_EVENTS", r.MaxLiveEvents)

	if _, err := ghl.NewVerifier(r.Auth()); err != nil {
		rules.check(false, strings.ReplaceAll(err.Error(), "\n", "; "),
			"GHL_WEBHOOK_PUBLIC_KEYS", "GHL_WEBHOOK_SECRETS", "GHL_APP_IDS", "GHL_LOCATION_IDS")
	}
	return rules
}

func (c Controller) validate() []Problem {
	var rules rules
	positive(&rules, "MAX_WAITING_EVENTS", c.MaxWaitingEvents)
	positive(&rules, "RETRY_BASE_DELAY", c.RetryBaseDelay)
	positive(&rules, "RETRY_MAX_DELAY", c.RetryMaxDelay)
	positive(&rules, "RETRY_MAX_ATTEMPTS", c.RetryMaxAttempts)
	positive(&rules, "DONE_TTL", c.DoneTTL)
	positive(&rules, "ERROR_TTL", c.ErrorTTL)
	positive(&rules, "FINISHED_HISTORY_LIMIT", c.FinishedHistoryLimit)
	rules.check(c.RetryBaseDelay <= c.RetryMaxDelay,
		fmt.Sprintf("expected the first to be at most the second, got %s and %s", c.RetryBaseDelay, c.RetryMaxDelay),
		"RETRY_BASE_DELAY", "RETRY_MAX_DELAY")
	rules.check(c.Retention >= minRetention,
		fmt.Sprintf("expected at least %dd (%s), got %s", minRetention/day, minRetention, c.Retention), "RETENTION")

	rules.check(phonenumbers.GetSupportedRegions()[c.DefaultPhoneRegion],
		fmt.Sprintf("expected a region such as US or DE, got %q", c.DefaultPhoneRegion), "DEFAULT_PHONE_REGION")
	if c.GHLTokensDir != "" {
		info, err := os.Stat(c.GHLTokensDir)
		message := "expected a directory"
		if filepath.IsAbs(c.GHLTokensDir) { // A relative path may be a token.
			message = fmt.Sprintf("expected a directory, got %q", c.GHLTokensDir)
		}
		rules.check(err == nil && info.IsDir(), message, "GHL_TOKENS_DIR")
	}
	rules.check(len(c.GHLAppointmentTags) == 0 || c.GHLAPIToken != "" || c.GHLTokensDir != "",
		"tags cannot be added without GHL_API_TOKEN or GHL_TOKENS_DIR", "GHL_APPOINTMENT_TAGS")
	if c.WebhookSinkURL != nil {
		if _, err := webhooksink.ParseSecret(c.WebhookSinkSecret.Reveal()); err != nil {
			rules.check(false, err.Error(), "WEBHOOK_SINK_SECRET")
		}
	}
	return rules
}

func (Migrate) validate() []Problem { return nil }

func (Tool) validate() []Problem { return nil }

// rules collects the problems of the rules that do not hold.
type rules []Problem

func (r *rules) check(holds bool, message string, variables ...string) {
	if !holds {
		*r = append(*r, Problem{variables, message})
	}
}

func positive[N int | time.Duration](r *rules, variable string, n N) {
	r.check(n > 0, fmt.Sprintf("expected more than 0, got %v", n), variable)
}
