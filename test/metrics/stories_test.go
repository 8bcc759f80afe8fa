package metrics

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// answered is the series of posts that were answered with a code.
func answered(code string) string {
	return `verity_sync_webhook_requests_total{code="` + code + `",source="ghl"}`
}

func attempted(operation, result string) string {
	return `verity_sync_attempts_total{operation="` + operation + `",result="` + result + `"}`
}

func changed(from, to string) string {
	return `verity_sync_event_transitions_total{from="` + from + `",to="` + to + `"}`
}

func stepped(step string) string {
	return `verity_sync_step_duration_seconds_count{result="success",step="` + step + `"}`
}

// intake is what posts are answered.
func intake(e *environment) []story {
	posts := func(code int, hooks ...ghlsender.Webhook) func(*testing.T, *environment) {
		return func(t *testing.T, e *environment) {
			t.Helper()
			for _, hook := range hooks {
				assert.Equal(t, code, send(t, e, hook))
			}
		}
	}
	once, foreign, stranger := note(e), *e.Sender, *e.Sender
	foreign.LocationID, stranger.AppID = ghlsender.NewID(), ghlsender.NewID()
	forged := note(e)
	forged.Header = http.Header{ghl.HeaderSignature: {e.Sender.Sign([]byte("{}"))}}
	text, large := note(e), note(e)
	text.Body, large.Body = []byte("no object"), []byte(`{"a":"`+strings.Repeat("x", 2<<20)+`"}`)
	return []story{
		{of: "a post that is new", happens: posts(200, once), grows: map[string]float64{
			answered("200"): 1, "verity_sync_webhook_request_duration_seconds_count": 1,
			"verity_sync_commit_batch_size_count": 1, "verity_sync_relay_lag_seconds_count": 1,
		}},
		{of: "one that was stored before", happens: posts(200, once), grows: map[string]float64{"verity_sync_webhook_duplicates_total": 1}},
		{of: "one of another location", happens: posts(200, foreign.Marketplace("NoteCreate", nil)), grows: map[string]float64{
			"verity_sync_webhook_ignored_total": 1,
		}},
		{of: "one that is no object", happens: posts(400, text), grows: map[string]float64{answered("400"): 1}},
		{of: "one with a wrong signature", happens: posts(401, forged), grows: map[string]float64{answered("401"): 1}},
		{of: "one of another app", happens: posts(403, stranger.Marketplace("NoteCreate", nil)), grows: map[string]float64{answered("403"): 1}},
		{of: "one that is too large", happens: posts(413, large), grows: map[string]float64{answered("413"): 1}},
		{of: "more connections than the memory allows", happens: func(t *testing.T, e *environment) {
			t.Helper()
			const tooMany = 300 // 227 fit into the memory that the environment gives a process.
			address := strings.TrimPrefix(e.Receivers[0].URL, "http://")
			for range tooMany {
				connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
				require.NoError(t, err)
				t.Cleanup(func() { _ = connection.Close() })
				_, err = connection.Write([]byte("POST / HTTP/1.1\r\n"))
				require.NoError(t, err)
			}
		}, grows: map[string]float64{"verity_sync_refused_connections_total": 1}},
		{of: "a GET", happens: func(t *testing.T, e *environment) {
			t.Helper()
			code, _, _, err := e.get(t.Context(), e.Receivers[0].WebhookURL(), "")
			require.NoError(t, err)
			assert.Equal(t, http.StatusMethodNotAllowed, code)
		}, grows: map[string]float64{answered("405"): 1}},
		{of: "a panic", happens: panics, grows: map[string]float64{"verity_sync_webhook_panics_total": 1}},
	}
}

// panics serves a receiver whose store panics, which no real one can be brought to, and its metrics.
func panics(t *testing.T, e *environment) {
	t.Helper()
	source, err := ghl.NewSource(ghl.AuthConfig{Secrets: []string{e.Sender.Secret}})
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	server, err := receiver.New(receiver.Config{
		Sources: []receiver.Source{source}, Committer: panicking{}, MaxInFlight: 1, ShutdownTimeout: time.Second,
		Metrics: metrics.NewReceiver(registry), Log: logr.Discard(),
	})
	require.NoError(t, err)
	shown := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(func() { e.also = nil; shown.Close() })
	e.also = []string{shown.URL}
	taken := httptest.NewServer(server)
	defer taken.Close()
	hook := booking(e)
	answer, err := e.Sender.Send(t.Context(), taken.URL+"/api/webhooks/ghl", hook)
	require.NoError(t, err)
	assert.Equal(t, http.StatusTooManyRequests, answer.Status)
}

type panicking struct{}

func (panicking) Commit(context.Context, store.Delivery) (store.Receipt, error) {
	panic("as the test wants it")
}

// work is how events come to their ends.
func work(e *environment) []story {
	known := ghlapi.Contact{ID: ghlsender.NewID(), LocationID: e.Sender.LocationID, Email: "known@example.com"}
	return []story{
		{of: "an appointment that goes through", happens: func(t *testing.T, e *environment) {
			t.Helper()
			post(t, e, booking(e), v1alpha1.PhaseDone)
		}, grows: map[string]float64{
			changed("pending", "processing"): 1, changed("processing", "done"): 1, "verity_sync_event_duration_seconds_count": 1,
			attempted("verity.forward", "success"): 1, attempted("verity.lead", "success"): 1,
			`verity_sync_leads_synced_total{result="LeadInserted"}`: 1,
			stepped("claim"): 1, stepped("attempt"): 1, stepped("hold"): 1,
		}},
		{of: "an appointment whose contact GoHighLevel is asked for", happens: func(t *testing.T, e *environment) {
			t.Helper()
			e.GHL.PutContact(known)
			_, err := e.VerityDatabase.AddContact(t.Context(), "", known.Email)
			require.NoError(t, err)
			at := time.Now()
			post(t, e, e.Sender.Appointment(ghlsender.Create, ghlsender.Appointment{
				ID: ghlsender.NewID(), ContactID: known.ID, Status: "confirmed", Start: at.Add(time.Hour), UpdatedAt: at,
			}), v1alpha1.PhaseDone)
		}, grows: map[string]float64{
			`verity_sync_ghl_api_requests_total{code="200",endpoint="contacts.get"}`: 1,
		}, shows: map[string]bounds{
			`verity_sync_ghl_daily_budget_remaining{location="` + e.Sender.LocationID + `"}`: {1, ghlapi.DailyLimit - 1},
		}},
		{of: "a contact", happens: func(t *testing.T, e *environment) {
			t.Helper()
			post(t, e, e.Sender.Contact(ghlsender.Create, ghlsender.Contact{ID: ghlsender.NewID(), Phone: "+15555550123"}), v1alpha1.PhaseDone)
		}, grows: map[string]float64{attempted("aloware.contact", "success"): 1}},
		{of: "a contact that has no phone", happens: func(t *testing.T, e *environment) {
			t.Helper()
			post(t, e, e.Sender.Contact(ghlsender.Create, ghlsender.Contact{ID: ghlsender.NewID()}), v1alpha1.PhaseDone)
		}, grows: map[string]float64{attempted("aloware.contact", "skipped"): 1}},
		{of: "a failure that passes", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Verity.Faults.Add(fault.Status(http.StatusServiceUnavailable)))
			post(t, e, note(e), v1alpha1.PhaseDone)
		}, grows: map[string]float64{attempted("verity.forward", "transient"): 1, changed("processing", "pending"): 1}},
		{of: "a pause that is asked for", happens: func(t *testing.T, e *environment) {
			t.Helper()
			limit := fault.Status(http.StatusTooManyRequests)
			limit.Header.Set("Retry-After", "1")
			require.NoError(t, e.Verity.Faults.Add(limit))
			post(t, e, note(e), v1alpha1.PhaseDone)
		}, grows: map[string]float64{attempted("verity.forward", "limited"): 1}},
		{of: "an event in error, and its replays", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
			event := post(t, e, note(e), v1alpha1.PhaseError)
			for _, request := range []string{"once", "twice"} {
				replay(t, e, event.Spec.EventID, request)
			}
		}, grows: map[string]float64{
			attempted("verity.forward", "permanent"): 1, changed("processing", "error"): 1,
			changed("error", "pending"): 1, changed("done", "pending"): 1, stepped("replay"): 2,
		}},
		{of: "an event that stays in error", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Verity.Faults.Add(fault.Status(http.StatusUnprocessableEntity)))
			post(t, e, note(e), v1alpha1.PhaseError)
		}, shows: map[string]bounds{`verity_sync_events{status="error"}`: exactly(1)}},
		{of: "an event that is being worked on", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Verity.Faults.Add(fault.Fault{Kind: fault.Hang, Times: -1}))
			assert.Equal(t, http.StatusOK, send(t, e, note(e)))
		}, shows: map[string]bounds{`verity_sync_events{status="processing"}`: exactly(1)},
			over: func(_ *testing.T, e *environment) { e.Verity.Faults.Clear() }},
		{of: "those that are done, once Postgres has looked", happens: func(t *testing.T, e *environment) {
			t.Helper()
			_, err := e.Database.Exec(t.Context(), "ANALYZE webhook_events")
			require.NoError(t, err)
		}, shows: map[string]bounds{`verity_sync_events{status="done"}`: atLeast(5)}},
	}
}

// outages are what does not work, and how it works again.
func outages(*environment) []story {
	var lift func(context.Context) error
	return []story{
		{of: "a destination that is down", happens: func(t *testing.T, e *environment) {
			t.Helper()
			refused := fault.Status(http.StatusUnauthorized)
			refused.Times = -1
			require.NoError(t, e.Verity.Faults.Add(refused))
			for range 6 {
				assert.Equal(t, http.StatusOK, send(t, e, note(e)))
			}
		}, grows: map[string]float64{attempted("verity.forward", "unavailable"): 5},
			shows: map[string]bounds{`verity_sync_breaker_state{destination="verity-http"}`: exactly(1)}},
		{of: "its return", happens: func(_ *testing.T, e *environment) { e.Verity.Faults.Clear() },
			grows: map[string]float64{changed("processing", "done"): 6},
			shows: map[string]bounds{`verity_sync_breaker_state{destination="verity-http"}`: exactly(0)}},
		{of: "controllers that are gone", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Controllers[0].Stop())
			for range 8 {
				assert.Equal(t, http.StatusOK, send(t, e, note(e)))
			}
		}, shows: map[string]bounds{
			"verity_sync_undispatched_events": atLeast(1), "verity_sync_oldest_unfinished_event_age_seconds": atLeast(1),
			`verity_sync_events{status="pending"}`: exactly(8),
		}, over: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Controllers[0].Start(t.Context()))
		}},
		{of: "their return", shows: map[string]bounds{
			`leader_election_master_status{name="verity-sync-controller"}`: exactly(1),
			"verity_sync_undispatched_events":                              exactly(0), "verity_sync_oldest_unfinished_event_age_seconds": exactly(0),
			`verity_sync_events{status="pending"}`: exactly(0),
		}},
		{of: "an admission policy that denies WebhookEvents", happens: func(t *testing.T, e *environment) {
			t.Helper()
			var err error
			lift, err = e.DenyWebhookEvents(t.Context(), "false")
			require.NoError(t, err)
			assert.Equal(t, http.StatusOK, send(t, e, note(e)))
		}, shows: map[string]bounds{"verity_sync_refused_events": exactly(1)}, over: func(t *testing.T, _ *environment) {
			t.Helper()
			require.NoError(t, lift(t.Context()))
		}},
		{of: "one that was lifted", shows: map[string]bounds{"verity_sync_refused_events": exactly(0)}},
		{of: "a controller that may not watch", happens: func(t *testing.T, e *environment) {
			t.Helper()
			e.restartAs(t, e.unprivileged(t))
		}, shows: map[string]bounds{"verity_sync_watch_failing": exactly(1)}, over: func(t *testing.T, e *environment) {
			t.Helper()
			e.restartAs(t, e.Kubeconfig)
		}},
		{of: "one that may", shows: map[string]bounds{"verity_sync_watch_failing": exactly(0)}},
		{of: "posts that wait for Postgres", happens: func(t *testing.T, e *environment) {
			t.Helper()
			testenv.LockTable(t, e.DatabaseURL, "webhook_events", "EXCLUSIVE")
			assert.Equal(t, http.StatusTooManyRequests, send(t, e, note(e)))
		}, grows: map[string]float64{answered("429"): 1},
			shows: map[string]bounds{`verity_sync_database_pool_connections_in_use{database="middleware"}`: atLeast(1)}},
		{of: "a Postgres that is gone", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Postgres.Stop(postgres.Immediate))
			assert.Equal(t, http.StatusTooManyRequests, send(t, e, note(e)))
		}, grows: map[string]float64{answered("429"): 1}, shows: map[string]bounds{"verity_sync_database_up": exactly(0)}},
		{of: "its return", happens: func(t *testing.T, e *environment) {
			t.Helper()
			require.NoError(t, e.Postgres.Start(t.Context()))
		}, shows: map[string]bounds{
			"verity_sync_database_up":                                      exactly(1),
			`verity_sync_database_pool_connections{database="middleware"}`: atLeast(1),
			// A new connection is waited for.
		}, grows: map[string]float64{
			`verity_sync_database_pool_waits_total{database="middleware"}`:        1,
			`verity_sync_database_pool_wait_seconds_total{database="middleware"}`: 1e-9,
		}},
	}
}

// builds are what never changes.
func builds() []story {
	return []story{{of: "what was built, and for how many connections", shows: map[string]bounds{
		"verity_sync_build_info{": exactly(1),
		`verity_sync_database_pool_connections_max{database="middleware"}`: exactly(16),
	}}}
}

// note is a webhook that is forwarded and nothing else.
func note(e *environment) ghlsender.Webhook {
	return e.Sender.Marketplace("NoteCreate", map[string]any{"id": ghlsender.NewID()})
}

// booking is an appointment of a contact of its own, whom Verity comes to know by the webhook.
func booking(e *environment) ghlsender.Webhook {
	at := time.Now().Add(-time.Minute)
	return e.Sender.WorkflowAppointment(ghlsender.Appointment{
		ID: ghlsender.NewID(), ContactID: ghlsender.NewID(), Status: "confirmed", Start: at.Add(24 * time.Hour), UpdatedAt: at,
	}, ghlsender.Contact{FirstName: "Ann", Email: ghlsender.NewID() + "@example.com"})
}

// send posts a webhook and returns the code that it was answered with.
func send(t *testing.T, e *environment, hook ghlsender.Webhook) int {
	t.Helper()
	answer, err := e.Sender.Send(t.Context(), e.Receivers[0].WebhookURL(), hook)
	require.NoError(t, err)
	return answer.Status
}

// post sends a webhook, waits until its event is in a phase, and returns its WebhookEvent.
func post(t *testing.T, e *environment, hook ghlsender.Webhook, phase v1alpha1.WebhookEventPhase) *v1alpha1.WebhookEvent {
	t.Helper()
	return systemtest.WaitForPhase(t, e.System, systemtest.Post(t, e.System, hook), phase)
}

// replay requests that an event runs again, and waits until it has succeeded.
func replay(t *testing.T, e *environment, id, request string) {
	t.Helper()
	event, err := systemtest.Get(t.Context(), e.System, id)
	require.NoError(t, err)
	before := event.DeepCopy()
	event.Annotations = map[string]string{v1alpha1.ReplayRequestedAtAnnotation: request}
	require.NoError(t, e.Kubernetes.Patch(t.Context(), event, client.MergeFrom(before)))
	systemtest.WaitFor(t, e.System, id, "replayed", func(o *v1alpha1.WebhookEvent) bool {
		return o.Status.LastHandledReplay == request && o.Status.Phase == v1alpha1.PhaseDone
	})
}
