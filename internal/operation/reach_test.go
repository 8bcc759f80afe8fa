package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// TestContactIsFoundByTextAsTyped runs an event of a contact that Verity has with a phone number or an e-mail address.
func TestContactIsFoundByTextAsTyped(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, test := range map[string]struct {
		phone, email string // in Verity
		person       body
	}{
		"invisible marks around a number":          {"+12055550142", "", body{"phone": "\u202d+1 205-555-0142\u202c"}},
		"a label before a number":                  {"+12055550143", "", body{"phone": "Mobile: (205) 555-0143."}},
		"two numbers on two lines":                 {"+12055550144", "", body{"phone": "n/a\n205 555 0144"}},
		"full-width digits":                        {"+12055550145", "", body{"phone": "２０５５５５０１４５"}},
		"00 for the plus sign":                     {"+4930901820", "", body{"phone": "0049 30 901820"}},
		"a number as a JSON number":                {"+12055550146", "", body{"phone": 12055550146}},
		"a number under another name":              {"+12055550147", "", body{"phone": "", "phoneNumber": "205-555-0147"}},
		"a number in snake case":                   {"+12055550148", "", body{"phone_number": "205-555-0148"}},
		"a number in customData":                   {"+12055550149", "", body{"customData": body{"mobile": "205-555-0149"}}},
		"a second field if the first is a word":    {"+12055550150", "", body{"phone": "unknown", "contact": body{"phone": "2055550150"}}},
		"a number as Verity has it, as typed":      {"(205) 555-0151", "", body{"phone": "(205) 555-0151"}},
		"Mexico's 1, which Verity has":             {"+5215512345678", "", body{"phone": "+525512345678"}},
		"Mexico's 1, which Verity lacks":           {"+525512345679", "", body{"phone": "+5215512345679"}},
		"Argentina's 9, which Verity has":          {"+5491123456789", "", body{"phone": "+541123456789"}},
		"Brazil's ninth digit, which Verity lacks": {"+551187654321", "", body{"phone": "+5511987654321"}},
		"Italy's zero, which Verity lacks":         {"+39612345678", "", body{"phone": "+390612345678"}},
		"an additional number as a text":           {"+12055550152", "", body{"phone": "+12055559952", "additionalPhones": []string{"205 555 0152"}}},
		"an additional number as an object":        {"+12055550153", "", body{"additionalPhones": []body{{"phone": "205 555 0153"}}}},
		"a display name around an address":         {"", "ada1@example.com", body{"email": "Ada <Ada1@example.com>"}},
		"mailto: before an address":                {"", "ada2@example.com", body{"email": "mailto:ada2@example.com"}},
		"punctuation after an address":             {"", "ada3@example.com", body{"email": "ada3@example.com."}},
		"two addresses in one field":               {"", "ada4@example.com", body{"email": "n/a; ada4@example.com"}},
		"the second of two fields":                 {"", "ada5@example.com", body{"email": "none", "emailAddress": "ada5@example.com"}},
		"an additional address as a text":          {"", "ada6@example.com", body{"email": "new6@example.com", "additionalEmails": []string{"ada6@example.com"}}},
		"an additional address as an object":       {"", "ada7@example.com", body{"additionalEmails": []body{{"email": "Ada7@example.com"}}}},
		"a NUL, which Postgres rejects":            {"", "ada8@example.com", body{"phone": "555\x00", "email": "x\x00 <ada8@example.com>"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, a := env.newContact(), env.appointment()
			id := env.addToVerity(test.phone, test.email)
			out := env.lead().Run(t.Context(), attempt(t, workflow(a, body{"contact_id": x.ghl}.with(test.person))))
			require.NoError(t, out.Err)
			assert.Equal(t, id, out.VerityContactID)
			assert.Equal(t, []string{a + " active"}, env.leadsOf(id))
		})
	}
}

func TestContactIsFoundByAnAdditionalAddressAtGoHighLevel(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, listed := range map[string]any{
		"as a text": "%", "as an object": map[string]any{"email": "%"}, "after an invalid one": map[string]any{"email": "%"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x, a := newGHL(t), env.newContact(), env.appointment()
			id := env.addToVerity("", x.email)
			if _, text := listed.(string); text {
				listed = x.email
			} else {
				listed = map[string]any{"email": x.email}
			}
			g.PutContact(ghlsim.Contact{
				ID: x.ghl, LocationID: location, Email: "new" + x.email, AdditionalEmails: []any{7, "none", listed},
			})
			lead := env.lead()
			lead.GHL = g.api
			out := lead.Run(t.Context(), attempt(t, booked(a, x.ghl, 1)))
			require.NoError(t, out.Err)
			assert.Equal(t, id, out.VerityContactID)
		})
	}
}

// TestUnusableContactKeysAreReported checks that the message has the reason, and not the value.
func TestUnusableContactKeysAreReported(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, test := range map[string]struct {
		person body
		want   string
	}{
		"too few digits":      {body{"phone": "555-0142"}, "the phone number is unusable: it has too few digits, or lacks its area code"},
		"no digits":           {body{"phone": "call me"}, "the phone number is unusable: it holds no digits that could be a phone number"},
		"one digit, repeated": {body{"phone": "0000000000"}, "the phone number is unusable: "},
		"no e-mail address":   {body{"email": "ada at example"}, "the e-mail address is unusable: it contains no valid address"},
		"both":                {body{"phone": "call me", "email": "none"}, "digits that could be a phone number; the e-mail address is unusable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := env.newContact()
			for _, contact := range []body{{"contact_id": x.ghl}, {}} {
				out := env.lead().Run(t.Context(), attempt(t, workflow(env.appointment(), contact.with(test.person))))
				require.ErrorContains(t, out.Err, test.want)
				assert.NotContains(t, out.Err.Error(), "neither a phone number")
				for _, value := range test.person {
					assert.NotContains(t, out.Err.Error(), value)
				}
			}
		})
	}
}

// TestContactEventWithoutAPhoneNumber checks that a missing phone number is looked up, and that an empty one is not.
func TestContactEventWithoutAPhoneNumber(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, test := range map[string]struct {
		skipped              string
		event                body
		atGHL, stored, noAPI bool
	}{
		"uses the number at GoHighLevel":                            {event: body{"customData": body{}}, atGHL: true},
		"uses the number at GoHighLevel and the names of the event": {event: body{"firstName": "Ada", "email": "ada@example.com"}, atGHL: true},
		"uses the stored number without GoHighLevel's API":          {event: body{}, stored: true, noAPI: true},
		"uses the stored number if GoHighLevel has no contact":      {event: body{}, stored: true},
		"uses the stored number in place of a merge field":          {event: body{"phone": "{{contact.phone}}"}, stored: true, noAPI: true},
		"is skipped if no number is known":                          {event: body{}, noAPI: true, skipped: "the contact has no phone number, and Aloware identifies contacts by phone number"},
		"is skipped if the number in the event is empty": {
			event: body{"phone": ""}, stored: true, atGHL: true, skipped: "the contact has no phone number, and Aloware identifies contacts by phone number",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, x := newGHL(t), env.newContact()
			sim, client := newAloware(t)
			if test.atGHL {
				g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: x.phone, FirstName: "Eva"})
			}
			if test.stored {
				require.NoError(t, env.store.RememberContact(t.Context(), store.Mapping{GHLContactID: x.ghl, Phone: x.phone}, at(0)))
			}
			c := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS}
			if !test.noAPI {
				c.GHL = g.api
			}
			out := c.Run(t.Context(), attempt(t, body{"contact_id": x.ghl, "locationId": location}.with(test.event)))
			require.NoError(t, out.Err)
			assert.Equal(t, test.skipped, out.Skipped)
			if test.skipped == "" {
				require.Len(t, sim.Contacts(), 1)
				assert.Equal(t, x.phone, sim.Contacts()[0].PhoneNumber)
				if name, ok := test.event["firstName"]; ok {
					assert.Equal(t, name, sim.Contacts()[0].FirstName)
				}
			}
		})
	}
}
