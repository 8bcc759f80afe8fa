package plan_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// everything is a configuration in which every operation is set up.
func everything(t *testing.T) config.Controller {
	t.Helper()
	base, err := url.Parse("https://destination.example.com")
	require.NoError(t, err)
	return config.Controller{
		VerityBaseURL: base, VerityDatabase: config.VerityDatabase{VerityDatabaseURL: "postgres://verity.example.com/verity"},
		GHLAPIBaseURL: base, GHLAPIToken: "token", GHLAppointmentTags: config.List{"booked"},
		AlowareBaseURL: base, AlowareAPIToken: "token", DefaultPhoneRegion: "US", RetryMaxDelay: time.Minute,
	}
}

// withSink configures the webhook sink.
func withSink(c *config.Controller) {
	c.WebhookSinkURL = &url.URL{Scheme: "https", Host: "sink.example.com"}
	c.WebhookSinkSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
}

func open(t *testing.T, cfg config.Controller) (*plan.Planner, error) {
	t.Helper()
	p, err := plan.Open(t.Context(), plan.Options{
		Config: cfg, Workers: 9, Store: &store.Store{}, Metrics: metrics.NewController(prometheus.NewRegistry(), plan.Specs()),
		Changed: func(string, bool) {}, Log: logr.Discard(),
	})
	if err == nil {
		t.Cleanup(p.Close)
	}
	return p, err
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const nothing = "nothing is synced for events of this type"
	tests := map[string]struct {
		change    func(*config.Controller)
		entity    string
		forwarded bool
		want      []string
		noForward string
		noSync    string
	}{
		"an appointment is forwarded, its lead is derived, then tags are added": {
			entity: event.EntityAppointment, want: []string{"verity.forward", "verity.lead", "ghl.tags"},
		},
		"an appointment gets no tags without GHL_APPOINTMENT_TAGS": {
			change: func(c *config.Controller) { c.GHLAppointmentTags = nil },
			entity: event.EntityAppointment, want: []string{"verity.forward", "verity.lead"},
		},
		"an appointment is only forwarded without Verity's database": {
			change: func(c *config.Controller) { c.VerityDatabaseURL, c.GHLAppointmentTags = "", nil },
			entity: event.EntityAppointment, want: []string{"verity.forward"},
			noSync: "VERITY_DATABASE_URL is not set: leads are not synced",
		},
		"a contact is forwarded and synced": {entity: event.EntityContact, want: []string{"verity.forward", "aloware.contact"}},
		"a contact is stored without Aloware, too": {
			change: func(c *config.Controller) { c.AlowareAPIToken = "" },
			entity: event.EntityContact, want: []string{"verity.forward", "aloware.contact"},
		},
		"another entity is only forwarded":    {entity: event.EntityOpportunity, want: []string{"verity.forward"}, noSync: nothing},
		"an unknown entity is only forwarded": {entity: event.EntityUnknown, want: []string{"verity.forward"}, noSync: nothing},
		"nothing is forwarded without VERITY_BASE_URL": {
			change: func(c *config.Controller) { c.VerityBaseURL = nil },
			entity: event.EntityContact, want: []string{"aloware.contact"}, noForward: v1alpha1.ForwardNotConfiguredReason,
		},
		"every event goes to the webhook sink, too": {
			change: withSink, entity: event.EntityOpportunity, want: []string{"verity.forward", "webhook.sink"}, noSync: nothing,
		},
		"an adopted event goes to the webhook sink": {
			change: withSink, forwarded: true, entity: event.EntityContact, want: []string{"aloware.contact", "webhook.sink"},
			noForward: v1alpha1.ForwardedByPredecessorReason,
		},
		"an adopted event is not forwarded again": {
			forwarded: true,
			entity:    event.EntityAppointment, want: []string{"verity.lead", "ghl.tags"}, noForward: v1alpha1.ForwardedByPredecessorReason,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := everything(t)
			if test.change != nil {
				test.change(&cfg)
			}
			planner, err := open(t, cfg)
			require.NoError(t, err)
			got := planner.Plan(&store.Attempt{Event: event.Event{EntityType: test.entity}, Forward: !test.forwarded})
			var names []string
			for _, op := range got.Operations {
				names = append(names, op.Spec().Name)
			}
			assert.Equal(t, test.want, names)
			assert.Equal(t, test.noForward, got.NoForward)
			assert.Equal(t, test.noSync, got.NoSync)
			assert.Empty(t, got.Unparseable)
		})
	}
}

func TestAnUnparseableEventHasNoOperations(t *testing.T) {
	t.Parallel()
	planner, err := open(t, everything(t))
	require.NoError(t, err)
	got := planner.Plan(&store.Attempt{
		Event: event.Event{Source: event.SourceGHL, Type: event.TypeUnparseable}, Forward: true, Raw: []byte(`{"a":`),
		Headers: map[string]string{"Content-Type": "application/json"},
	})
	assert.Empty(t, got.Operations)
	assert.NotEmpty(t, got.Unparseable)
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*config.Controller)
		want   string
	}{
		"tags without GoHighLevel's API":  {func(c *config.Controller) { c.GHLAPIToken = "" }, "tags need"},
		"tags without Verity's database":  {func(c *config.Controller) { c.VerityDatabaseURL = "" }, "tags need"},
		"a URL that is not of a database": {func(c *config.Controller) { c.VerityDatabaseURL = "postgres://:x:y" }, "set up Verity's database"},
		"a webhook sink without a secret": {
			func(c *config.Controller) { withSink(c); c.WebhookSinkSecret = "" }, "read the secret of the webhook sink",
		},
		"a directory of tokens that does not exist": {
			func(c *config.Controller) { c.GHLTokensDir = "/does/not/exist" }, "set up GoHighLevel's tokens",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := everything(t)
			test.change(&cfg)
			_, err := open(t, cfg)
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestSpecs checks what the ledger, metrics and conditions rely on.
func TestSpecs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{"": true}
	for _, spec := range plan.Specs() {
		assert.NotEmpty(t, spec.Name)
		assert.NotEmpty(t, spec.Direction, spec.Name)
		assert.NotEmpty(t, spec.Condition, spec.Name)
		assert.False(t, seen[spec.Name], "%s is declared twice", spec.Name)
		assert.True(t, seen[spec.After], "%s runs before %s, which it comes after", spec.Name, spec.After)
		seen[spec.Name] = true
	}
}

func TestADestinationThatNotEveryEventNeedsGetsAThirdOfTheWorkers(t *testing.T) {
	t.Parallel()
	planner, err := open(t, everything(t))
	require.NoError(t, err)
	free := map[string]int{}
	for _, s := range planner.Slots() {
		free[s.Limit] = s.Free
	}
	assert.Equal(t, map[string]int{"places:verity-db": 3, "places:aloware": 3, "places:ghl": 3}, free)
}
