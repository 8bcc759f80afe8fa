package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// TestNothingSecretOrPersonalIsSaidWhereDestinationsFail has each destination fail in every way in which an error could carry
// a URL, a header or a body along, repeating what it was sent, and then looks at all that was said about it.
func TestNothingSecretOrPersonalIsSaidWhereDestinationsFail(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{
		Receivers: 1, Controllers: 1,
		Env: map[string]string{"GHL_APPOINTMENT_TAGS": "booked", "RETRY_BASE_DELAY": "10ms", "RETRY_MAX_DELAY": "50ms", "RETRY_MAX_ATTEMPTS": "4"},
	})
	for _, p := range append(s.Receivers, s.Controllers...) {
		p.Flags = append(p.Flags, "--zap-log-level=debug")
		require.NoError(t, p.Restart(t.Context()))
	}
	const phone, email, name, ssn = "+12025550187", "Zelda.Quux@Example.com", "Zelda", "000-11-2222"
	gossip := fmt.Sprintf(`{"message":["%s","%s","%s"],"error":"Contact not found for %s"}`, phone, email, ssn, phone)
	page := fault.HTML()
	page.Body = "<!DOCTYPE html>" + gossip
	ways := map[string]fault.Fault{
		"an error":                fault.JSON(http.StatusInternalServerError, gossip),
		"a refusal":               fault.JSON(http.StatusUnprocessableEntity, gossip),
		"a refusal of the secret": fault.JSON(http.StatusUnauthorized, gossip),
		"a page":                  page,
		"no sense":                fault.JSON(http.StatusOK, `{"contact":{"id":["`+phone+`"]},"id":["`+email+`"]}`),
		"a redirect":              fault.Redirect("https://example.com/?api_token=secret&phone_number=" + phone),
		"a reset":                 {Kind: fault.Reset},
		"half an answer":          {Kind: fault.Truncate},
	}
	var ids []string
	for way, f := range ways {
		for _, sim := range []*fault.Script{&s.Verity.Faults, &s.GHL.Faults, &s.Aloware.Faults} {
			require.NoError(t, sim.Add(f), way)
		}
		contact := ghlsender.Contact{ID: ghlsender.NewID(), FirstName: name, Email: email, Phone: phone}
		s.GHL.PutContact(ghlapi.Contact{ID: contact.ID, LocationID: s.Sender.LocationID, FirstName: name, Email: email, Phone: phone, SSN: ssn})
		ids = append(ids,
			systemtest.Post(t, s, s.Sender.Contact(ghlsender.Update, contact)),
			systemtest.Post(t, s, s.Sender.Appointment(ghlsender.Create, ghlsender.Appointment{ID: ghlsender.NewID(), ContactID: ghlsender.NewID(), Status: "confirmed"})),
			systemtest.Post(t, s, s.Sender.WorkflowAppointment(ghlsender.Appointment{ID: ghlsender.NewID(), ContactID: contact.ID, Status: "confirmed"}, contact)))
		for _, id := range ids[len(ids)-3:] {
			require.Eventually(t, func() bool {
				var tried bool
				err := s.Database.QueryRow(t.Context(), "SELECT EXISTS (SELECT 1 FROM sync_log WHERE webhook_event_id = $1)", id).Scan(&tried)
				require.NoError(t, err)
				return tried
			}, systemtest.Timeout, systemtest.Tick, way)
		}
		for _, sim := range []*fault.Script{&s.Verity.Faults, &s.GHL.Faults, &s.Aloware.Faults} {
			sim.Clear()
		}
	}

	secrets := []string{
		phone, phone[1:], phone[5:], strings.ToLower(email), email, "elda.", name, ssn,
		s.Sender.Secret, s.Verity.Secret, s.JobsSecret, s.Controllers[0].Env["ALOWARE_API_TOKEN"], s.Controllers[0].Env["GHL_API_TOKEN"],
	}
	said := map[string]string{}
	for _, p := range append(s.Receivers, s.Controllers...) {
		log, err := p.Log()
		require.NoError(t, err)
		said["the log of "+p.Name] = log
	}
	assert.Contains(t, said["the log of controller-0"], `attempt failed`, "there is something to look at")
	objects, err := s.Kubectl(t.Context(), "get", "webhookevents,events", "--output=yaml")
	require.NoError(t, err)
	said["WebhookEvents and Events"] = objects
	const ledger = `SELECT coalesce(string_agg(concat_ws(' ', error_message, details, target_id), E'\n'), '') FROM sync_log`
	var text string
	require.NoError(t, s.Database.QueryRow(t.Context(), ledger).Scan(&text))
	assert.Contains(t, text, "answered")
	said["the ledger"] = text
	for where, text := range said {
		for _, secret := range secrets {
			require.NotEmpty(t, secret)
			assert.NotContains(t, text, secret, where)
		}
	}
}
