package crash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// subject is a webhook on its way, about a contact of its own.
type subject struct {
	webhook ghlsender.Webhook
	// contact is GoHighLevel's, known at Verity by the phone number as verityContact.
	contact       ghlsender.Contact
	verityContact string
	// appointment is "" where the webhook is about the contact.
	appointment string
	// id is that of the event, once it is acknowledged.
	id string
}

// newSubject makes a contact that GoHighLevel and Verity know.
func (e *environment) newSubject(t *testing.T) *subject {
	t.Helper()
	s := &subject{contact: ghlsender.Contact{
		ID: ghlsender.NewID(), FirstName: "Ann", Phone: fmt.Sprintf("+1212555%04d", 1000+e.begun.Add(1)),
	}}
	e.GHL.PutContact(ghlapi.Contact{ID: s.contact.ID, LocationID: e.Sender.LocationID, Phone: s.contact.Phone})
	var err error
	s.verityContact, err = e.VerityDatabase.AddContact(t.Context(), s.contact.Phone, "")
	require.NoError(t, err)
	return s
}

// book gives the subject an appointment.
func (s *subject) book() ghlsender.Appointment {
	s.appointment = ghlsender.NewID()
	at := time.Now().Add(-time.Minute)
	return ghlsender.Appointment{
		ID: s.appointment, ContactID: s.contact.ID, Status: "confirmed", Start: at.Add(24 * time.Hour), UpdatedAt: at,
	}
}

// booking is a marketplace app's webhook of an appointment: it is signed and has an id.
func booking(t *testing.T, e *environment) *subject {
	t.Helper()
	s := e.newSubject(t)
	s.webhook = e.Sender.Appointment(ghlsender.Create, s.book())
	return s
}

// workflow is a workflow's webhook of an appointment, which has no id.
func workflow(t *testing.T, e *environment) *subject {
	t.Helper()
	s := e.newSubject(t)
	s.webhook = e.Sender.WorkflowAppointment(s.book(), s.contact)
	return s
}

// contact is a webhook of a new contact.
func contact(t *testing.T, e *environment) *subject {
	t.Helper()
	s := e.newSubject(t)
	s.webhook = e.Sender.Contact(ghlsender.Create, s.contact)
	return s
}

// post posts the webhook once.
func (e *environment) post(ctx context.Context, s *subject) (system.Answer, error) {
	return e.postTo(ctx, e.Receivers[0], s)
}

// postTo sends the webhook to a receiver, and keeps the id of its event.
func (e *environment) postTo(ctx context.Context, receiver *system.Process, s *subject) (system.Answer, error) {
	answer, err := e.Post(ctx, receiver, s.webhook)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", answer.Status, answer.Error)
	}
	if err == nil {
		s.id = answer.ID
	}
	return answer, err
}

// deliver posts the webhook until it is acknowledged, as GoHighLevel does, and returns the answer and how many posts had none.
func (e *environment) deliver(t *testing.T, s *subject) (answer system.Answer, lost int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		if answer, err = e.post(t.Context(), s); err != nil {
			lost++
		}
		return err == nil
	}, systemtest.Timeout, systemtest.Tick)
	return answer, lost
}

// isDoneOnce waits until the subject's event is done, and checks that all of its effects are there once. Verity was sent it so many
// times, under one key.
func (e *environment) isDoneOnce(t *testing.T, s *subject, forwards int) {
	t.Helper()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		var status, trouble string
		require.NoError(c, e.Database.QueryRow(t.Context(),
			"SELECT status, coalesce(error_message, '') FROM webhook_events WHERE id = $1", s.id).Scan(&status, &trouble))
		require.Equal(c, "done", status, trouble)
		require.True(c, e.shownDone(s.id), "the WebhookEvent was shown as Done")
	})

	hash := sha256.Sum256(s.webhook.Body)
	var rows int
	require.NoError(t, e.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events WHERE body_hash = $1", hash[:]).Scan(&rows))
	assert.Equal(t, 1, rows, "stored once")
	expected := []string{"aloware.contact", "verity.forward", "webhook.sink"}
	if s.appointment != "" {
		expected = []string{"ghl.tags", "verity.forward", "verity.lead", "webhook.sink"}
	}
	assert.Equal(t, expected, e.successes(t, s), "the ledger has each operation once")
	e.isForwarded(t, s, hex.EncodeToString(hash[:]), forwards)
	e.isAtWebhookSink(t, s)
	if s.appointment == "" {
		e.isInAloware(t, s)
		return
	}
	e.hasLead(t, s)
	atGHL, _ := e.GHL.Contact(s.contact.ID)
	assert.Equal(t, []string{tag}, atGHL.Tags)
}

// successes returns what the ledger has as done.
func (e *environment) successes(t *testing.T, s *subject) []string {
	t.Helper()
	rows, err := e.Database.Query(t.Context(),
		"SELECT operation FROM sync_log WHERE webhook_event_id = $1 AND status = 'success' ORDER BY operation", s.id)
	require.NoError(t, err)
	operations, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return operations
}

func (e *environment) isForwarded(t *testing.T, s *subject, hash string, times int) {
	t.Helper()
	var of []verity.Delivery
	for _, d := range e.Verity.Deliveries() {
		if d.Key == s.id || d.SHA256 == hash {
			of = append(of, d)
		}
	}
	if assert.Len(t, of, 1, "forwarded under one key") {
		assert.Equal(t, s.id, of[0].Key)
		assert.Equal(t, hash, of[0].SHA256, "the bytes that were sent")
		assert.Len(t, of[0].Times, times, "as often as the point allows for")
	}
}

// isAtWebhookSink checks that the sink has one message of the event. The simulator refuses another body under the same id.
func (e *environment) isAtWebhookSink(t *testing.T, s *subject) {
	t.Helper()
	messages := 0
	for _, m := range e.WebhookSink.Messages() {
		if m.ID == s.id {
			messages++
		}
	}
	assert.Equal(t, 1, messages, "one message of the event")
}

func (e *environment) hasLead(t *testing.T, s *subject) {
	t.Helper()
	leads, err := e.VerityDatabase.Leads(t.Context())
	require.NoError(t, err)
	var of []string
	for _, l := range leads {
		if l.ContactID == s.verityContact {
			of = append(of, l.AppointmentID)
		}
	}
	assert.Equal(t, []string{s.appointment}, of, "one lead, which points at the appointment")
}

func (e *environment) isInAloware(t *testing.T, s *subject) {
	t.Helper()
	var of []aloware.Contact
	for _, c := range e.Aloware.Contacts() {
		if c.PhoneNumber == s.contact.Phone {
			of = append(of, c)
		}
	}
	if assert.Len(t, of, 1, "one contact") {
		assert.Equal(t, s.contact.FirstName, of[0].FirstName)
	}
}
