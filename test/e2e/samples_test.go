package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// The vendor published one body as three examples: posted one right after the other they are one event.
var sameBody = []string{
	"marketplace-appointmentcreate-official", "marketplace-appointmentdelete-official-wrongtype",
	"marketplace-appointmentupdate-official-wrongtype",
}

// personal is what the samples and their people hold of personal data.
var personal = []string{
	"5555550110", "ooked@example.com", "fs5@", "FS5@", "mona@", "Mona", "1201200000198", "test+23132",
	"8135550121", "John", "555-0142", "2055550142", "Knobler", "knobler.captura012@", "Jane Smith",
}

func TestEverySampleEndsDone(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1, Controllers: 1})
	require.NoError(t, s.SeedSamples(t.Context()))
	phases := watchPhases(t, s)

	events := postSamples(t, s)
	require.Len(t, events, 13)
	for id, body := range events {
		e := systemtest.WaitForPhase(t, s, id, v1alpha1.PhaseDone)
		name := e.Spec.EventType + " " + e.Spec.EntityID
		assert.Equal(t, "done", rowOf(t, s, id).Status, name)
		phases.waitFor(t, e.Name, v1alpha1.PhasePending, v1alpha1.PhaseProcessing, v1alpha1.PhaseDone)

		times, hash := systemtest.Forwards(s, id)
		assert.Equal(t, 1, times, "%s is forwarded once, under its id", name)
		assert.Equal(t, sha256Of(body), hash, "%s is forwarded byte for byte", name)
		want := map[string]int{"verity.forward success": 1}
		switch e.Spec.EntityType {
		case "appointment":
			want["verity.lead "+leadStatus(e)] = 1
		case "contact":
			// A contact without a phone number is not one for Aloware.
			want["aloware.contact "+alowareStatus(t, body)] = 1
		}
		assert.Equal(t, want, ledgerOf(t, s, id), name)
	}
	assert.Len(t, s.Verity.Deliveries(), len(events), "nothing else was forwarded")
	assertLeads(t, s)
	assertLookUps(t, s)
	assertNothingPersonal(t, s)
}

// postSamples posts all samples, those of one body in a row, and returns the bodies by the events' ids.
func postSamples(t *testing.T, s *system.System) map[string][]byte {
	t.Helper()
	samples, err := system.Samples()
	require.NoError(t, err)
	same := func(sample system.Sample) bool { return slices.Contains(sameBody, sample.Name) }
	events := map[string][]byte{}
	first := ""
	for _, sample := range samples {
		if !same(sample) {
			continue
		}
		if first == "" {
			first = systemtest.Post(t, s, sample.Webhook)
			events[first] = sample.Webhook.Body
			continue
		}
		answer, err := s.Post(t.Context(), s.Receivers[0], sample.Webhook)
		require.NoError(t, err)
		assert.Equal(t, "duplicate", answer.Outcome, sample.Name)
		assert.Equal(t, first, answer.ID, sample.Name)
	}
	for _, sample := range slices.DeleteFunc(samples, same) {
		events[systemtest.Post(t, s, sample.Webhook)] = sample.Webhook.Body
	}
	return events
}

// assertLeads looks at what Verity's people see: of each contact one lead, which points at the appointment that is still to come.
func assertLeads(t *testing.T, s *system.System) {
	t.Helper()
	const query = `SELECT coalesce(c.phone_e164, lower(c.email)), coalesce(l.ghl_appointment_id, '')
		FROM leads l JOIN contacts c ON c.id = l.contact_id ORDER BY 1`
	conn, err := pgx.Connect(t.Context(), s.VerityDatabaseURL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), query)
	require.NoError(t, err)
	type lead struct{ Contact, Appointment string }
	leads, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lead])
	require.NoError(t, err)
	assert.Equal(t, []lead{
		{"+15555550110", ""},
		{"+201200000198", "CZvjjEJy8NHQAlbSQ6dM"},
		{"booked@example.com", "test_appt_1736900000000"},
		{"fs5@example.com", "APT_fs5_valid"},
	}, leads)
}

// assertLookUps puts the three questions that users know, as they know them.
func assertLookUps(t *testing.T, s *system.System) {
	t.Helper()
	for question, want := range map[string]struct {
		database string
		rows     int
	}{
		"SELECT * FROM webhook_events WHERE source='ghl' ORDER BY received_at DESC LIMIT 10":               {s.DatabaseURL, 10},
		"SELECT * FROM leads WHERE ghl_appointment_id IS NOT NULL ORDER BY last_activity_at DESC LIMIT 10": {s.VerityDatabaseURL, 3},
		"SELECT * FROM sync_log WHERE entity_type='appointment' ORDER BY started_at DESC LIMIT 10":         {s.DatabaseURL, 10},
	} {
		conn, err := pgx.Connect(t.Context(), want.database)
		require.NoError(t, err)
		rows, err := conn.Query(t.Context(), question)
		require.NoError(t, err)
		found, err := pgx.CollectRows(rows, pgx.RowToMap)
		require.NoError(t, err, question)
		assert.Len(t, found, want.rows, question)
		require.NoError(t, conn.Close(t.Context()))
	}
}

// assertNothingPersonal looks where more people look than may know whom it is about.
func assertNothingPersonal(t *testing.T, s *system.System) {
	t.Helper()
	objects, err := s.Kubectl(t.Context(), "get", "webhookevents,events", "--output=yaml")
	require.NoError(t, err)
	for _, text := range personal {
		assert.NotContains(t, objects, text)
	}
	for _, p := range append(s.Receivers, s.Controllers...) {
		log, err := p.Log()
		require.NoError(t, err)
		for _, text := range append(personal, s.Sender.Secret, s.Verity.Secret, s.JobsSecret) {
			assert.NotContains(t, log, text, p.Name)
		}
	}
}

// leadStatus is "skipped" where an appointment was deleted of which nothing but that is known.
func leadStatus(e *v1alpha1.WebhookEvent) string {
	if e.Spec.EntityID == "apt_JKL012" {
		return "skipped"
	}
	return "success"
}

func alowareStatus(t *testing.T, body []byte) string {
	t.Helper()
	var contact struct{ Type, Phone string }
	require.NoError(t, json.Unmarshal(body, &contact))
	if contact.Phone == "" || contact.Type == "ContactDndUpdate" {
		return "skipped"
	}
	return "success"
}

func sha256Of(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// phases are those that each WebhookEvent has been seen in, in order.
type phases struct {
	mu   sync.Mutex
	seen map[string][]v1alpha1.WebhookEventPhase
}

// watchPhases watches from now on until the end of the test.
func watchPhases(t *testing.T, s *system.System) *phases {
	t.Helper()
	watcher, err := s.Kubernetes.Watch(t.Context(), &v1alpha1.WebhookEventList{}, client.InNamespace(s.Namespace))
	require.NoError(t, err)
	p := &phases{seen: map[string][]v1alpha1.WebhookEventPhase{}}
	var done sync.WaitGroup
	done.Go(func() {
		for event := range watcher.ResultChan() {
			if e, ok := event.Object.(*v1alpha1.WebhookEvent); ok && event.Type != watch.Deleted {
				p.add(e)
			}
		}
	})
	t.Cleanup(func() {
		watcher.Stop()
		done.Wait()
	})
	return p
}

func (p *phases) add(e *v1alpha1.WebhookEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seen := p.seen[e.Name]; len(seen) == 0 || seen[len(seen)-1] != e.Status.Phase {
		p.seen[e.Name] = append(seen, e.Status.Phase)
	}
}

// waitFor waits until a WebhookEvent has been seen in just these phases.
func (p *phases) waitFor(t *testing.T, name string, want ...v1alpha1.WebhookEventPhase) {
	t.Helper()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Equal(c, want, p.seen[name])
	})
}
