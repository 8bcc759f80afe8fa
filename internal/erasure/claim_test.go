package erasure_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/erasure"
	"github.com/dfmiddleware/verity-sync/internal/phone"
)

const (
	bob = "bobContactAaBbCc0002"
	// contactOfAda is an event of Ada's.
	contactOfAda = `{"type":"ContactUpdate","id":"` + ada + `","locationId":"loc1","phone":"+12055550163","email":"ada.lovelace@example.com"}`
	umlaut       = `{"type":"ContactUpdate","id":"` + ada + `","locationId":"loc1","email":"ada@bücher.example"}`
	clinic       = `{"type":"ContactUpdate","id":"` + ada + `","locationId":"loc1","phone":"+12055550100","email":"jane@clinic.com"}`
)

// TestAnEventIsErasedOnlyIfItIsCertainlyThePersons tests one event beside known events of Ada and of others.
func TestAnEventIsErasedOnlyIfItIsCertainlyThePersons(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	for name, tt := range map[string]struct {
		known  []string // Earlier events; contactOfAda if empty.
		sql    string
		body   string
		person erasure.Person // ada if empty.
		erased bool
	}{
		"a list of members with another's number and address is left": {
			body: `{"type":"Something Else","members":[{"name":"Ada","phone":"+12055550163"},{"name":"Bob","phone":"+12055550188","email":"bob@example.com"}]}`,
		},
		"a text with another's number and address is left": {
			body: `{"type":"Something Else","text":"Bob +12055550188 bob@example.com says his boss is 205 555 0163"}`,
		},
		"a text with another's address alone is left":           {body: `{"type":"Something Else","text":"bob@example.com for 205 555 0163"}`},
		"a text with her number in it twice is erased":          {body: `{"type":"Something Else","text":"+12055550163, that is 205-555-0163"}`, erased: true},
		"a text with her number and a time is erased":           {body: `{"type":"Something Else","text":"205-555-0163","at":"2026-09-12 20:00:00"}`, erased: true},
		"a broken body with another's number is left":           {body: `{"phone":"+12055550163","p2":"+12055550188","name":"Bob" "x`},
		"a broken body with another contact is left":            {body: `{"contact": {"name":"Bob", "id":"` + bob + `"}, "t":"+12055550163" "x`},
		"a broken body with two contacts is left":               {body: `{"contact_id":"` + bob + `","note":"x","friend":{"contact_id":"` + ada + `"} "x`},
		"a broken body with a list of contacts is left":         {body: `{"contactIds":["` + ada + `","` + bob + `"] "x`},
		"a report with rows of two contacts is left":            {body: `{"type":"Daily Report","rows":[{"contactId":"` + bob + `","n":1},{"contactId":"` + ada + `","n":2}]}`},
		"a list of the ids of two contacts is left":             {body: `{"type":"Daily Report","contactIds":["` + bob + `","` + ada + `"]}`},
		"a list of two contacts is left":                        {body: `{"type":"Daily Report","contacts":[{"id":"` + bob + `"},{"id":"` + ada + `"}]}`},
		"her message that names another contact is left":        {body: `{"type":"InboundMessage","messageId":"m","contactId":"` + ada + `","refersTo":{"relatedContactId":"` + bob + `"}}`},
		"a list of her id alone is erased":                      {body: `{"type":"Daily Report","contactIds":["` + ada + `"]}`, erased: true},
		"another's form that has her id somewhere is left":      {body: `{"type":"Something Else","referredBy":"` + ada + `","phone":"+12055550188"}`},
		"an appointment with her number is erased":              {body: `{"phone":"+12055550163","calendar":{"appointmentId":"apt1","id":"cal"},"user":{"email":"jane@clinic.com"},"location":{"phone":"+12055550100"}}`, erased: true},
		"a merge field for a contact is no other contact":       {body: `{"contact_id":"{{contact.id}}","phone":"+12055550163","customData":{"x":"y"}}`, erased: true},
		"N/A for a contact is no other contact":                 {body: `{"contact_id":"N/A","phone":"+12055550163","customData":{"x":"y"}}`, erased: true},
		"a dash for a contact is no other contact":              {body: `{"contact_id":"-","phone":"+12055550163","customData":{"x":"y"}}`, erased: true},
		"her address for a contact's id is hers":                {body: `{"contact_id":"ada.lovelace@example.com","customData":{"x":"y"}}`, erased: true},
		"another's address for a contact's id is another's":     {body: `{"contact_id":"bob@example.com","phone":"+12055550163","customData":{"x":"y"}}`},
		"a date that has her number's digits is left":           {known: []string{`{"type":"ContactUpdate","id":"` + ada + `","phone":"+12026091220"}`}, body: `{"type":"Something Else","startTime":"2026-09-12 20:00:00"}`},
		"an IP address that has her number's digits is left":    {known: []string{`{"type":"ContactUpdate","id":"` + ada + `","phone":"+12026091220"}`}, body: `{"type":"Something Else","ip":"202.60.91.220"}`},
		"an agent's address, given, does not claim a booking":   {person: erasure.Person{Emails: []string{"jane@clinic.com"}}, body: `{"type":"Something Else","full_name":"Dora","calendar":{"appointmentId":"aptD","id":"cal"},"user":{"email":"jane@clinic.com"}}`},
		"nor one with the client's number and address":          {person: erasure.Person{Emails: []string{"jane@clinic.com"}}, body: `{"type":"Something Else","phone":"+12055550177","email":"dora@example.com","user":{"email":"jane@clinic.com"}}`},
		"a clinic's number, given, does not claim a booking":    {person: erasure.Person{Phones: []string{"+12055550100"}}, body: `{"full_name":"Carl","calendar":{"appointmentId":"a","id":"c"},"location":{"id":"loc1","phone":"+12055550100"}}`},
		"a given number beside another's is left":               {person: erasure.Person{ContactID: ada, Phones: []string{adaPhone}}, body: `{"type":"Something Else","phone":"+12055550163","other":"+12055550188"}`},
		"the clinic's number as her own does not claim":         {known: []string{clinic}, body: `{"full_name":"Carl Jung","calendar":{"appointmentId":"a","id":"c"},"location":{"name":"Clinic","id":"loc1","phone":"+12055550100"}}`},
		"an agent's address as her own does not claim":          {known: []string{clinic}, body: `{"attendee":{"name":"Carl","phone":"+12055550188"},"user":{"email":"jane@clinic.com"}}`},
		"nor does the address of the assigned agent":            {known: []string{clinic}, body: `{"type":"Something Else","name":"Carl","assignedTo":{"email":"jane@clinic.com"}}`},
		"her appointment with another's number is left":         {sql: rowOfHers, body: `{"phone":"+12055550188","email":"bob@example.com","calendar":{"appointmentId":"aptX","id":"cal"}}`},
		"her appointment without a number is erased":            {sql: rowOfHers, body: `{"full_name":"Ada","calendar":{"appointmentId":"aptX","id":"cal"}}`, erased: true},
		"an appointment of which another event names another":   {known: []string{contactOfAda, `{"type":"AppointmentCreate","appointment":{"id":"aptX","contactId":"` + bob + `"}}`}, sql: rowOfHers, body: `{"full_name":"Bob","calendar":{"appointmentId":"aptX","id":"cal"}}`},
		"an appointment of which another event has her number":  {known: []string{contactOfAda, `{"phone":"+12055550163","calendar":{"appointmentId":"aptX","id":"cal"}}`}, body: `{"full_name":"Ada","calendar":{"appointmentId":"aptX","id":"cal","status":"gone"}}`, erased: true},
		"one of which yet another event has another's number":   {known: []string{contactOfAda, `{"phone":"+12055550163","calendar":{"appointmentId":"aptX","id":"cal"}}`, `{"phone":"+12055550188","calendar":{"appointmentId":"aptX","id":"cal"}}`}, body: `{"full_name":"?","calendar":{"appointmentId":"aptX","id":"cal","status":"gone"}}`},
		"a number that a contact of another location has, too":  {known: []string{contactOfAda, `{"type":"ContactUpdate","id":"` + bob + `","locationId":"loc2","phone":"+12055550163"}`}, person: erasure.Person{ContactID: ada, Location: "loc1"}, body: `{"phone":"+12055550163","calendar":{"appointmentId":"a","id":"c"}}`},
		"a form with her address in punycode is erased":         {known: []string{umlaut}, body: `{"type":"Something Else","text":"ADA@XN--BCHER-KVA.example"}`, erased: true},
		"one with her address decomposed is erased":             {known: []string{umlaut}, body: `{"type":"Something Else","text":"ada@bu\u0308cher.example"}`, erased: true},
		"one with another's address in punycode is left":        {known: []string{umlaut}, body: `{"type":"Something Else","text":"ada@bücher.example, bob@xn--mller-kva.example"}`},
		"one with her address in two forms is erased":           {known: []string{umlaut}, body: `{"type":"Something Else","text":"ada@bücher.example, ADA@xn--bcher-kva.example"}`, erased: true},
		"an address that differs in an accent is left":          {known: []string{umlaut}, body: `{"type":"Something Else","text":"ada@bucher.example"}`},
		"a form with her address and a wide @ is erased":        {body: `{"type":"Something Else","text":"ada.lovelace＠example.com"}`, erased: true},
		"a given address in punycode is found":                  {person: erasure.Person{ContactID: ada, Emails: phone.Emails("ada@xn--bcher-kva.example")}, body: `{"type":"Something Else","text":"Ada@BÜCHER.example"}`, erased: true},
		"an id that no contact has claims nothing":              {person: erasure.Person{ContactID: "newsletter"}, body: `{"type":"Something Else","text":"newsletter"}`},
		"an appointment's id in place of a contact's is no one": {person: erasure.Person{ContactID: "aptAda1AaBbCcDd"}, body: `{"calendar":{"appointmentId":"aptAda1AaBbCcDd","id":"cal"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			e := &environment{Store: e.Store, t: t, url: e.url, writer: e.writer}
			e.exec(`TRUNCATE webhook_events, sync_log, contact_mappings, appointments`)
			if tt.known == nil {
				tt.known = []string{contactOfAda}
			}
			for _, body := range tt.known {
				e.send(body)
			}
			if tt.sql != "" {
				e.exec(tt.sql, ada)
			}
			if tt.person.ContactID == "" && len(tt.person.Phones)+len(tt.person.Emails) == 0 {
				tt.person.ContactID = ada
			}
			id := e.send(tt.body).ID
			plan, _ := e.erase(tt.person)
			assert.Equal(t, tt.erased, slices.Contains(idsOf(plan), id))
			if !tt.erased {
				assert.Equal(t, int64(1), value[int64](e, `SELECT count(*) FROM webhook_events WHERE id = $1 AND erased_at IS NULL`, id))
			}
		})
	}
}

const rowOfHers = `INSERT INTO appointments (ghl_appointment_id, ghl_contact_id, first_at, booked, newest)
	VALUES ('aptX', $1, now(), true, ROW(now(), false, now(), gen_random_uuid())::event_order)`

func TestUnclearEventsAreReported(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.send(contactOfAda)
	e.exec(rowOfHers, ada)
	unclear := []uuid.UUID{
		e.send(`{"type":"Something Else","text":"Bob +12055550188 says his boss is 205 555 0163"}`).ID,
		e.send(`{"phone":"+12055550188","calendar":{"appointmentId":"aptX","id":"cal"}}`).ID,
	}
	e.send(`{"type":"Daily Report","contactIds":["` + bob + `","` + ada + `"]}`)
	plan, _ := e.erase(erasure.Person{ContactID: ada})
	assert.ElementsMatch(t, unclear, plan.Left.Unclear)
	assert.Equal(t, map[string]int{bob: 1}, plan.Left.OtherContacts)
}

func TestALogEntryOfAnotherContactIsNotErased(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.send(contactOfAda)
	e.send(`{"type":"ContactUpdate","id":"` + bob + `","phone":"+12055550163"}`)
	e.exec(`INSERT INTO contact_mappings (ghl_contact_id, aloware_contact_id) VALUES ($1, '4711'), ($2, '4711')`, ada, bob)
	e.exec(`INSERT INTO sync_log (direction, entity_type, entity_id, source_id, target_id, status, error_message) VALUES
		('ghl_to_aloware', 'contact', $2, 'x', '4711', 'failed', 'of an id at Aloware that both have'),
		('ghl_to_aloware', 'contact', $2, $1, '4711', 'failed', 'of both'),
		('aloware_to_ghl', 'contact', '4711', '4711', NULL, 'failed', 'of either'),
		('ghl_to_aloware', 'call', 'c1', NULL, NULL, 'failed', '+12055550163, that both have, does not answer'),
		('ghl_to_aloware', 'contact', $1, $1, '4711', 'failed', 'hers')`, ada, bob)
	plan, _ := e.erase(erasure.Person{ContactID: ada})
	assert.Len(t, plan.Log, 1)
	assert.Equal(t, 2, plan.Left.OtherLog, "that of both, and that with the number of both")
	assert.EqualValues(t, 4, value[int64](e, `SELECT count(*) FROM sync_log WHERE error_message IS NOT NULL`))
}

func TestAnIDThatIsNotAContactsIsRejected(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.send(contactOfAda)
	for _, id := range []string{"loc1", "undefined", "null", "N/A", "{{contact.id}}", "ada.lovelace@example.com", "-"} {
		_, err := erasure.Find(t.Context(), e.Store, erasure.Person{ContactID: id, Region: "US"})
		require.ErrorAs(t, err, &erasure.NoContactError{}, id)
	}
}

// TestTheNextErasureCompletesAnInterruptedOne stops an erasure at its last event.
func TestTheNextErasureCompletesAnInterruptedOne(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.send(contactOfAda)
	open := e.send(`{"phone":"+12055550163","calendar":{"appointmentId":"aptY","id":"cal"}}`).ID
	derived := e.send(`{"full_name":"Countess","calendar":{"appointmentId":"aptY","id":"cal","status":"gone"}}`).ID
	e.exec(`INSERT INTO appointments (ghl_appointment_id, first_at, booked, newest)
		VALUES ('aptY', now(), true, ROW(now(), false, now(), gen_random_uuid())::event_order)`)
	e.exec(`INSERT INTO sync_log (direction, entity_type, correlation_id, status, error_message) VALUES ('ghl_to_aloware', 'call', $1, 'failed', 'Countess')`,
		derived.String())
	plan := e.find(erasure.Person{ContactID: ada})
	require.Equal(t, []uuid.UUID{derived, open}, idsOf(plan)[:2], "events that others lead to are erased first")
	require.Len(t, plan.Log, 1)

	// The last event cannot be erased; all earlier ones are.
	last := idsOf(plan)[2]
	e.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'`)
	e.exec(`CREATE TRIGGER refuse BEFORE UPDATE ON webhook_events FOR EACH ROW WHEN (OLD.id = '` + last.String() + `') EXECUTE FUNCTION refuse()`)
	outcome, err := erasure.Erase(context.WithoutCancel(t.Context()), e.Store, plan)
	require.Error(t, err)
	assert.Equal(t, 2, outcome.Events)
	assert.Empty(t, e.holders("Countess"), "the log and the events without a contact are erased")
	assert.Zero(t, value[int64](e, `SELECT count(*) FROM appointments`))
	e.exec(`DROP TRIGGER refuse ON webhook_events`)
	e.erase(erasure.Person{ContactID: ada})
	assert.Zero(t, value[int64](e, `SELECT count(*) FROM webhook_events WHERE erased_at IS NULL`))
}
