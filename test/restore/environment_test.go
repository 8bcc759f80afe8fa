// Package restore sets the database of a running system back, as a restore, a point-in-time recovery and an asynchronous failover do, and
// checks what is repeated, what is lost, and what verity-sync detects. All parts are real except GoHighLevel, Verity and Aloware.
package restore

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

// environment is a system whose Postgres can be set back, while Verity's is separate and stays.
type environment struct {
	*system.System
	t *testing.T
	// booked are the appointments that leads have to point at.
	booked []string
}

func start(t *testing.T, options system.Options) *environment {
	t.Helper()
	options.OwnVerityServer, options.Receivers, options.Controllers = true, 1, 2
	options.Env = systemtest.ShortRetries(options.Env)
	return &environment{System: systemtest.StartOnOwnPostgres(t, options), t: t}
}

// sent is a webhook that was answered 200.
type sent struct {
	id      string
	webhook ghlsender.Webhook
}

// booking sends an appointment of a contact that Verity adds because of the webhook.
func (e *environment) booking() sent {
	e.t.Helper()
	at := time.Now().Add(-time.Minute)
	appointment := ghlsender.NewID()
	e.booked = append(e.booked, appointment)
	return e.post(e.Sender.WorkflowAppointment(ghlsender.Appointment{
		ID: appointment, ContactID: ghlsender.NewID(), Status: "confirmed", Start: at.Add(24 * time.Hour), UpdatedAt: at,
	}, ghlsender.Contact{FirstName: "Ann", Email: ghlsender.NewID() + "@example.com"}))
}

func (e *environment) contact(phone string) sent {
	e.t.Helper()
	return e.post(e.Sender.Contact(ghlsender.Create, ghlsender.Contact{ID: ghlsender.NewID(), FirstName: "Ben", Phone: phone}))
}

// post sends a webhook that must be accepted as new.
func (e *environment) post(w ghlsender.Webhook) sent {
	e.t.Helper()
	return sent{systemtest.Post(e.t, e.System, w), w}
}

// verityFails makes Verity answer 503 until verityWorks.
func (e *environment) verityFails() {
	f := fault.Status(http.StatusServiceUnavailable)
	f.Times = -1
	require.NoError(e.t, e.Verity.Faults.Add(f))
}

func (e *environment) verityWorks() { e.Verity.Faults.Clear() }

// until waits until a WebhookEvent is as wanted.
func (e *environment) until(s sent, want string, is func(*v1alpha1.WebhookEvent) bool) {
	e.t.Helper()
	systemtest.WaitFor(e.t, e.System, s.id, want, is)
}

func (e *environment) untilPhase(phase v1alpha1.WebhookEventPhase, events ...sent) {
	e.t.Helper()
	for _, s := range events {
		systemtest.WaitForPhase(e.t, e.System, s.id, phase)
	}
}

func (e *environment) untilReason(reason string, events ...sent) {
	e.t.Helper()
	for _, s := range events {
		e.until(s, reason, func(o *v1alpha1.WebhookEvent) bool {
			return slices.ContainsFunc(o.Status.Conditions, func(c metav1.Condition) bool {
				return c.Type == v1alpha1.ReadyCondition && c.Reason == reason
			})
		})
	}
}

// forwards returns how often Verity accepted an event.
func (e *environment) forwards(s sent) int {
	times, _ := systemtest.Forwards(e.System, s.id)
	return times
}

// leaseHeartbeat returns the heartbeat on the lease of the leader election.
func (e *environment) leaseHeartbeat(ctx context.Context) (time.Time, error) {
	lease := &coordinationv1.Lease{}
	if err := e.Kubernetes.Get(ctx, types.NamespacedName{Namespace: e.Namespace, Name: "verity-sync-controller"}, lease); err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, lease.Annotations[v1alpha1.HeartbeatAnnotation])
}

// untilHeartbeatAfter waits until the lease has a later heartbeat.
func (e *environment) untilHeartbeatAfter(at time.Time) {
	e.t.Helper()
	systemtest.Eventually(e.t, func(c *assert.CollectT) {
		beat, err := e.leaseHeartbeat(e.t.Context())
		require.NoError(c, err)
		require.True(c, beat.After(at), "%s after %s", beat, at)
	})
}

// reported returns the Kubernetes Events about a database that has gone back.
func (e *environment) reported() []eventsv1.Event {
	e.t.Helper()
	var list eventsv1.EventList
	require.NoError(e.t, e.Kubernetes.List(e.t.Context(), &list, client.InNamespace(e.Namespace)))
	return slices.DeleteFunc(list.Items, func(o eventsv1.Event) bool { return o.Reason != "DatabaseRolledBack" })
}

// untilMetric waits until the controllers together have a value of a metric.
func (e *environment) untilMetric(name string, want float64) {
	e.t.Helper()
	systemtest.Eventually(e.t, func(c *assert.CollectT) {
		var sum float64
		for _, p := range e.Controllers {
			value, err := metric(e.t.Context(), p.MetricsURL, name)
			require.NoError(c, err)
			sum += value
		}
		require.InDelta(c, want, sum, 0, name)
	})
}

func metric(ctx context.Context, url, name string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
	if found == nil {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// leadsFollow waits until there is one lead for each appointment that was booked, and no other.
func (e *environment) leadsFollow() {
	e.t.Helper()
	systemtest.Eventually(e.t, func(c *assert.CollectT) {
		leads, err := e.VerityDatabase.Leads(e.t.Context())
		require.NoError(c, err)
		var have []string
		for _, l := range leads {
			have = append(have, l.AppointmentID)
		}
		require.ElementsMatch(c, e.booked, have)
	})
}

// connect connects the test to another server.
func (e *environment) connect(databaseURL string) {
	e.t.Helper()
	var err error
	e.Database, err = pgxpool.New(e.t.Context(), databaseURL)
	require.NoError(e.t, err)
}
