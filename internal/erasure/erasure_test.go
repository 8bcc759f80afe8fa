package erasure_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/erasure"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// ada is the contact that is erased. No other contact has her texts.
const (
	ada      = "adaContactAaBbCc0001"
	adaPhone = "+12055550163"
	adaEmail = "ada.lovelace@example.com"
)

var adasTexts = []string{adaEmail, "2055550163", "555-0163", "Lovelace", "Countess", "alowareAda", "verityAda"}

// adas are bodies about her, in each of the forms in which a body names a contact or names none.
var adas = map[string]string{
	"a contact": `{"type":"ContactCreate","locationId":"loc1","webhookId":"wh-contact","id":"` + ada + `","firstName":"Ada","lastName":"Lovelace",
		"phone":"(205) 555-0163","email":"Ada.Lovelace@Example.com"}`,
	"an appointment": `{"type":"AppointmentCreate","locationId":"loc1","appointment":{"id":"aptAda1","contactId":"` + ada + `","title":"Countess"}}`,
	"an appointment without a contact, which a stored event has": `{"type":"AppointmentDelete","locationId":"loc1","appointment":{"id":"aptAda1","notes":"Lovelace"}}`,
	"a workflow's appointment": `{"contact_id":"` + ada + `","full_name":"Ada Lovelace","phone":"+1 205-555-0163","location":{"id":"loc1"},
		"calendar":{"appointmentId":"aptAda2","id":"cal","appoinmentStatus":"confirmed"}}`,
	"a workflow's appointment without a contact": `{"full_name":"Ada Lovelace","phone":"1 (205) 555-0163","email":"ADA.LOVELACE@EXAMPLE.COM",
		"calendar":{"appointmentId":"aptAda3","id":"cal","appoinmentStatus":"confirmed"}}`,
	"custom data alone":       `{"customData":{"type":"AppointmentCreate","id":"aptAda4","email":"ada.lovelace@example.com"}}`,
	"an e-mail address alone": `{"email":"ada.lovelace@example.com","calendar":{"appointmentId":"aptAda5","status":"booked"}}`,
	"an inbound message":      `{"type":"InboundMessage","locationId":"loc1","contactId":"` + ada + `","messageId":"msg1","body":"This is Lovelace"}`,
	"a note":                  `{"type":"NoteCreate","locationId":"loc1","id":"note1","contactId":"` + ada + `","body":"Lovelace called"}`,
	"the end of that note, without its contact": `{"type":"NoteDelete","locationId":"loc1","id":"note1","body":"Lovelace called"}`,
	"an opportunity":           `{"type":"OpportunityCreate","locationId":"loc1","id":"opp1","contactId":"` + ada + `","name":"Countess"}`,
	"a workflow's opportunity": `{"id":"opp2","pipeline_id":"p","contact_id":"` + ada + `","opportunity_name":"Countess"}`,
	"an order":                 `{"type":"OrderCreate","altId":"loc1","altType":"location","_id":"ord1","contactSnapshot":{"id":"` + ada + `","lastName":"Lovelace"}}`,
	"an invoice":               `{"type":"InvoiceCreate","altId":"loc1","altType":"location","_id":"inv1","contactDetails":{"id":"` + ada + `","name":"Lovelace"}}`,
	"a task that has the contact deep inside":   `{"type":"TaskCreate","locationId":"loc1","id":"task1","relations":[{"contactId":"` + ada + `"}],"title":"Call Lovelace"}`,
	"the contact in the address of a page":      `{"type":"Something Else","page":"https://app.example.com/contacts/detail/` + ada + `?tab=1","text":"Lovelace"}`,
	"a number in the middle of a text":          `{"type":"Something Else","text":"Lovelace left 205.555.0163, please call"}`,
	"a number that is a number":                 `{"type":"Something Else","dial":12055550163,"text":"Lovelace"}`,
	"escapes that hide an address":              `{"type":"Something Else","mail":"ada\u002elovelace\u0040example.com","text":"Lovelace"}`,
	"an address in a query":                     `{"type":"Something Else","link":"https://example.com/?email=ada.lovelace%40example.com","text":"Lovelace"}`,
	"the first of two members of the same name": `{"type":"Something Else","phone":"+12055550163","phone":"","text":"Lovelace"}`,
	"a list in place of a text":                 `{"type":"Something Else","phones":[["205 555 0163"]],"text":"Lovelace"}`,
	"a body that does not parse":                "{\"contact_id\":\"" + ada + "\",\"note\":\"says \"Lovelace\"\"}",
	"one with nothing but a number":             "{\"phone\":\"+1 205 555 0163\",\"note\":\"Lovelace\n\"}",
	"one with escapes before the number":        `{"note":"Lovelace\n\t+12055550163" "broken"}`,
	"one with nothing but an address":           "{\"note\":\"says \"Lovelace\"\",\"email\":\"ada.lovelace@example.com\"}",
	"a number in a custom type":                 `{"type":"Call From 12055550163","text":"Lovelace"}`,
	"an address for an id":                      `{"customData":{"type":"AppointmentCreate","id":"ada.lovelace@example.com"},"name":"Lovelace"}`,
}

// others are bodies about other people, or about unknown ones.
var others = map[string]string{
	"an id that hers is a part of":          `{"type":"ContactCreate","locationId":"loc1","id":"` + ada + `2","phone":"+12055550199"}`,
	"an id that hers is a part of, no type": `{"type":"Something Else","ref":"x` + ada + `"}`,
	"a number that hers is a part of":       `{"type":"Something Else","phone":"+120555501633","n":912055550163}`,
	"digits within an id":                   `{"type":"Something Else","ref":"cus_2055550163x9"}`,
	"an address that hers is a part of":     `{"type":"Something Else","email":"lady.ada.lovelace@example.com","a":"ada.lovelace@example.com.au"}`,
	"another contact who mentions her":      `{"type":"InboundMessage","locationId":"loc1","contactId":"bobContactAaBbCc0002","body":"call my boss at 205-555-0163"}`,
	"another contact's form with her id":    `{"type":"ContactUpdate","locationId":"loc1","id":"bobContactAaBbCc0002","referredBy":"` + ada + `"}`,
	"another contact's broken body":         "{\"contact_id\":\"bobContactAaBbCc0002\",\"note\":\"of \"205 555 0163\"\"}",
	"the same first name":                   `{"type":"Something Else","first_name":"Ada"}`,
	"a person without a contact":            `{"phone":"+12055550177","email":"carl@example.com","calendar":{"appointmentId":"aptCarl","status":"booked"}}`,
	"an appointment of another contact":     `{"type":"AppointmentCreate","locationId":"loc1","appointment":{"id":"aptBob","contactId":"bobContactAaBbCc0002"}}`,
}

// known fills the tables of contacts and appointments, and the ledger, as processing would.
func (e *environment) known() {
	e.t.Helper()
	e.exec(`INSERT INTO contact_mappings (ghl_contact_id, location_id, phone_number, email, aloware_contact_id, aloware_phone_number, former_aloware_contact_ids)
		VALUES ($1, 'loc1', $2, $3, 'alowareAda1', $2, '{alowareAda0}'), ('bobContactAaBbCc0002', 'loc1', '+12055550188', 'bob@example.com', 'alowareBob', NULL, '{}')`,
		ada, adaPhone, adaEmail)
	e.exec(`INSERT INTO appointments (ghl_appointment_id, ghl_contact_id, verity_contact_id, first_at, booked, newest)
		SELECT entity_id, max(contact_id), CASE WHEN entity_id LIKE 'aptAda%' THEN 'verityAda' END, now(), true,
		       ROW(now(), false, now(), gen_random_uuid())::event_order
		FROM webhook_events WHERE entity_type = 'appointment' AND entity_id IS NOT NULL AND entity_id NOT LIKE '%@%' GROUP BY entity_id`)
	e.exec(`INSERT INTO sync_log (webhook_event_id, direction, entity_type, entity_id, source_id, target_id, operation, status, attempt, error_message, details)
		SELECT id, 'ghl_to_verity', entity_type, entity_id, entity_id, CASE WHEN payload_json::text ~* 'lovelace' THEN 'alowareAda1' END, 'verity.forward',
		       'success', 1, CASE WHEN payload_json::text ~* 'lovelace' THEN 'Lovelace' END, '{}' FROM webhook_events`)
	e.exec(`UPDATE webhook_events SET status = 'done', processed_at = now(), verity_contact_id = CASE WHEN payload_json::text ~* 'lovelace' THEN 'verityAda' END
		WHERE event_type <> 'unparseable'`)
	e.exec(`UPDATE webhook_events SET status = 'error', processed_at = now(), error_message = 'does not parse' WHERE event_type = 'unparseable'`)
	// The legacy middleware's log.
	e.exec(`INSERT INTO sync_log (direction, entity_type, entity_id, source_id, target_id, status, error_message) VALUES
		('ghl_to_aloware', 'contact', $1, $1, 'alowareAda1', 'failed', 'no such contact: Lovelace'),
		('aloware_to_ghl', 'contact', 'alowareAda0', 'alowareAda0', NULL, 'completed', NULL),
		('ghl_to_aloware', 'call', 'call1', NULL, NULL, 'failed', '+1 205-555-0163 does not answer'),
		('ghl_to_aloware', 'contact', 'bobContactAaBbCc0002', 'x', 'alowareBob', 'failed', '205-555-0163 is the number of another contact'),
		('ghl_to_aloware', 'contact', 'someone', 'x', 'y', 'completed', 'fine')`, ada)
}

func TestAnErasureRemovesAllOfThePersonAndNothingOfOthers(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	hers, receipts := map[uuid.UUID]string{}, map[string]store.Receipt{}
	for name, body := range adas {
		r := e.send(body)
		require.False(t, r.Duplicate, name)
		hers[r.ID], receipts[name] = name, r
	}
	form := e.sendAs("application/x-www-form-urlencoded", "type=Something+Else&text=Lovelace&phone=%2B12055550163&mail=ada.lovelace%40example.com")
	hers[form.ID] = "a form"
	notHers := map[uuid.UUID]string{}
	for _, bodies := range []map[string]string{others, samples(t)} {
		for name, body := range bodies {
			if r := e.send(body); !r.Duplicate {
				notHers[r.ID] = name
			}
		}
	}
	e.known()
	before := e.rows()

	plan, outcome := e.erase(erasure.Person{ContactID: ada})

	for id, name := range hers {
		assert.Contains(t, idsOf(plan), id, name)
	}
	for id, name := range notHers {
		assert.NotContains(t, idsOf(plan), id, name)
	}
	assert.Empty(t, plan.Left.Unclear)
	assert.Equal(t, map[string]int{"bobContactAaBbCc0002": 3}, plan.Left.OtherContacts)
	assert.Equal(t, 1, plan.Left.OtherLog)
	assert.Equal(t, len(hers), outcome.Events)
	assert.Zero(t, outcome.Ended)
	assert.Equal(t, erasure.Outcome{
		ID: outcome.ID, Events: len(hers), Ledger: int64(len(hers)) + 3, Mappings: 1, Appointments: 5,
	}, outcome)
	assert.Equal(t, plan.Ledger+int64(len(plan.Log)), outcome.Ledger, "the dry run reports the same")
	assert.EqualValues(t, plan.Appointments, outcome.Appointments)

	// Other people's mentions of her stay, as the report says.
	var kept []string
	for id, name := range notHers {
		if strings.Contains(before["webhook_events "+id.String()], "555-0163") || others[name] != "" {
			kept = append(kept, id.String())
		}
	}
	e.exec(`CREATE TABLE kept AS SELECT * FROM webhook_events WHERE id = ANY($1::uuid[])`, kept)
	after := e.rows()
	for row, text := range after {
		table, id, _ := strings.Cut(row, " ")
		if old, found := before[row]; found && old == text {
			continue
		}
		switch parsed, err := uuid.Parse(id); {
		case table == "webhook_events" && err == nil && hers[parsed] != "":
		case table == "sync_log":
			assert.NotRegexp(t, `bobContact|someone`, before[row], "an entry of another contact has changed")
		default:
			assert.Fail(t, "a row of another person has changed", "%s: %s, before %s", row, text, before[row])
		}
	}
	e.exec(`DROP TABLE kept`)
	e.exec(`DELETE FROM webhook_events WHERE id = ANY($1::uuid[])`, kept)
	e.exec(`DELETE FROM sync_log WHERE entity_id = 'bobContactAaBbCc0002'`)
	assert.Empty(t, e.holders(adasTexts...))
	for _, holder := range e.holders(ada) {
		assert.Regexp(t, `^webhook_events\.(entity_id|ordering_key): `, holder, "a repeated delivery is recognised by it")
	}

	second, err := erasure.Find(t.Context(), e.Store, erasure.Person{ContactID: ada, Phones: []string{adaPhone}, Emails: []string{adaEmail}, Region: "US"})
	require.NoError(t, err)
	assert.True(t, second.Empty(), "%+v", second)
	assert.EqualValues(t, 1, value[int64](e, `SELECT count(*) FROM sync_log WHERE operation = 'erase' AND status = 'success' AND correlation_id = $1
		AND (details ->> 'events')::int = $2`, outcome.ID.String(), outcome.Events))
	for name, r := range receipts {
		again := e.send(adas[name])
		if name == "a number in a custom type" || name == "an address for an id" {
			continue // Its keys contained personal data.
		}
		if again.Duplicate {
			assert.Equal(t, r.ID, again.ID, name)
		}
	}
	assert.True(t, e.send(adas["a contact"]).Duplicate)
	assert.True(t, e.send(adas["a workflow's appointment"]).Duplicate)
	assert.True(t, e.send(adas["one with nothing but a number"]).Duplicate)
}

// TestEverySampleCanBeErased stores all samples and erases the person of each.
func TestEverySampleCanBeErased(t *testing.T) {
	t.Parallel()
	bodies := samples(t)
	contacts := map[string][]string{}
	for _, body := range bodies {
		if texts, contact := personal(t, body); contact != "" {
			contacts[contact] = append(contacts[contact], texts...)
		}
	}
	require.Greater(t, len(contacts), 5)
	e := newEnvironment(t)
	var names []string
	for name, body := range bodies {
		e.send(body)
		names = append(names, name)
	}
	for _, contact := range slices.Sorted(maps.Keys(contacts)) {
		plan, _ := e.erase(erasure.Person{ContactID: contact})
		require.NotEmpty(t, plan.Events, contact)
		var own []string
		for _, text := range contacts[contact] {
			shared := slices.ContainsFunc(slices.Collect(maps.Keys(contacts)), func(other string) bool {
				return other != contact && slices.Contains(contacts[other], text)
			})
			if !shared {
				own = append(own, text)
			}
		}
		assert.Empty(t, e.holders(own...), contact)
		for _, holder := range e.holders(contact) {
			assert.Regexp(t, `^webhook_events\.(entity_id|ordering_key): `, holder)
		}
	}
	assert.NotEmpty(t, names)
	assert.Zero(t, value[int64](e, `SELECT count(*) FROM webhook_events WHERE contact_id IS NOT NULL`))
}

func TestAPhoneNumberOfTwoContacts(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"hers":       `{"type":"ContactUpdate","id":"` + ada + `","phone":"+12055550163","email":"ada.lovelace@example.com"}`,
		"his":        `{"type":"ContactUpdate","id":"` + bob + `","phone":"+12055550163","email":"bob@example.com"}`,
		"shared":     `{"phone":"+12055550163","calendar":{"appointmentId":"apt1","status":"booked"}}`,
		"her e-mail": `{"phone":"+12055550163","email":"ada.lovelace@example.com","calendar":{"appointmentId":"apt2","status":"booked"}}`,
		"his e-mail": `{"phone":"+12055550163","email":"bob@example.com","calendar":{"appointmentId":"apt3","status":"booked"}}`,
		"a third":    `{"phone":"+12055550163","email":"carl@example.com","calendar":{"appointmentId":"apt4","status":"booked"}}`,
	}
	for name, tt := range map[string]struct {
		person        erasure.Person
		erased, left  []string
		otherContacts map[string]int
	}{
		"the contact alone: rows with the shared number are left and reported": {
			erasure.Person{ContactID: ada}, []string{"hers", "her e-mail"}, []string{"shared", "his e-mail", "a third"}, map[string]int{bob: 1},
		},
		"the contact and the number: the number is still shared": {
			erasure.Person{ContactID: ada, Phones: []string{adaPhone}},
			[]string{"hers", "her e-mail"}, []string{"shared", "his e-mail", "a third"}, map[string]int{bob: 1},
		},
		"an address that one contact has": {
			erasure.Person{Emails: []string{adaEmail}}, []string{"hers", "her e-mail"}, []string{"shared", "his e-mail", "a third"}, map[string]int{bob: 1},
		},
		"an address that no contact has, beside a number that is not given": {
			erasure.Person{Emails: []string{"carl@example.com"}}, nil, []string{"a third"}, map[string]int{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t)
			names := map[uuid.UUID]string{}
			for name, body := range bodies {
				names[e.send(body).ID] = name
			}
			named := func(ids []uuid.UUID) (out []string) {
				for _, id := range ids {
					out = append(out, names[id])
				}
				return out
			}
			plan, _ := e.erase(tt.person)
			assert.ElementsMatch(t, tt.erased, named(idsOf(plan)))
			assert.ElementsMatch(t, tt.left, named(plan.Left.Unclear))
			assert.Equal(t, tt.otherContacts, plan.Left.OtherContacts)
			assert.True(t, e.find(tt.person).Empty(), "a second run finds nothing")
		})
	}

	t.Run("the number alone is refused, with the contacts that have it", func(t *testing.T) {
		t.Parallel()
		e := newEnvironment(t)
		for _, body := range bodies {
			e.send(body)
		}
		_, err := erasure.Find(t.Context(), e.Store, erasure.Person{Phones: []string{adaPhone}, Region: "US"})
		var several *erasure.SeveralError
		require.ErrorAs(t, err, &several)
		assert.Equal(t, []string{ada, bob}, several.ContactIDs)
		assert.NotContains(t, err.Error(), "555")
	})
}

func TestALocationLimitsAnErasure(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	here := e.send(`{"type":"ContactUpdate","id":"` + ada + `","locationId":"loc1","phone":"+12055550163"}`)
	nowhere := e.send(`{"contact_id":"` + ada + `","phone":"+12055550163","customData":{"x":"y"}}`)
	e.send(`{"type":"NoteCreate","id":"note1","locationId":"loc2","contactId":"` + ada + `","body":"Lovelace"}`)
	plan, _ := e.erase(erasure.Person{ContactID: ada, Location: "loc1"})
	assert.ElementsMatch(t, []uuid.UUID{here.ID, nowhere.ID}, idsOf(plan))
	assert.Equal(t, 1, plan.Left.OtherLocations)
	assert.Equal(t, []string{"webhook_events.payload_json: Lovelace"}, e.holders("Lovelace"))
}

func TestUnfinishedEventsEndErased(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	var ids []uuid.UUID
	for _, id := range []string{"a", "b", "c", "d"} {
		ids = append(ids, e.send(`{"type":"AppointmentCreate","appointment":{"id":"apt`+id+`","contactId":"`+ada+`"}}`).ID)
	}
	e.exec(`UPDATE webhook_events SET suspended = true WHERE id = $1`, ids[0])
	e.exec(`UPDATE webhook_events SET status = 'processing', claimed_term = 7 WHERE id = $1`, ids[1])
	e.exec(`UPDATE webhook_events SET parked = true, next_attempt_at = now() + interval '1 hour', held_by = '{verity}' WHERE id = $1`, ids[2])
	plan, outcome := e.erase(erasure.Person{ContactID: ada})
	assert.Equal(t, 4, plan.Unfinished())
	assert.Equal(t, 4, outcome.Ended)
	assert.EqualValues(t, 4, value[int64](e, `SELECT count(*) FROM webhook_events WHERE status = 'error' AND reason = 'Erased' AND processed_at IS NOT NULL
		AND erased_at IS NOT NULL AND NOT suspended AND NOT parked AND next_attempt_at IS NULL AND held_by IS NULL`))
	for _, selection := range []store.ReplaySelection{{Status: store.StatusError, Since: 1 << 40}, {Status: store.StatusDone, Since: 1 << 40}} {
		n, err := e.ReplayAll(t.Context(), selection, true)
		require.NoError(t, err)
		assert.Zero(t, n, "it does not run again")
	}
	n, err := e.CountErased(t.Context(), store.ReplaySelection{Status: store.StatusError, Since: 1 << 40})
	require.NoError(t, err)
	assert.EqualValues(t, 4, n)
	term, err := e.AcquireTerm(t.Context(), "test")
	require.NoError(t, err)
	_, err = e.Replay(t.Context(), ids[3], "now", true, term)
	require.ErrorIs(t, err, store.ErrErased)
	_, err = e.Claim(t.Context(), ids[3], term)
	require.ErrorIs(t, err, store.ErrNotClaimable)
}
