package operation_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

// TestWhichRegionAPhoneNumberBelongsTo has a number that is one in France (33), Italy (39) and the Netherlands (31), where
// the last is the default and the first is configured for the location loc-fr.
func TestWhichRegionAPhoneNumberBelongsTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	regions := operation.Regions{Default: "NL", Locations: map[string]string{"loc-fr": "FR"}}
	const france, italy, netherlands = "+336123%05d", "+3906123%05d", "+316123%05d"
	tests := map[string]struct {
		body body
		// met is the location in which the contact was met before.
		met  string
		want string
	}{
		"nothing is known of either":                        {body{}, "", netherlands},
		"the contact's country":                             {body{"country": "it"}, "", italy},
		"the contact's country before the location's":       {body{"country": "IT", "location": body{"id": "loc-fr", "country": "NL"}}, "", italy},
		"what the payload says of its location":             {body{"location": body{"id": "loc1", "country": "IT"}}, "", italy},
		"what it says in customData":                        {body{"customData": body{"location": body{"id": "loc1", "country": "IT"}}}, "", italy},
		"what is configured for the location":               {body{"locationId": "loc-fr"}, "", france},
		"what is configured before what the payload says":   {body{"location": body{"id": "loc-fr", "country": "IT"}}, "", france},
		"another location's region does not matter":         {body{"locationId": "loc1"}, "", netherlands},
		"a country that is none is no better than none":     {body{"country": "somewhere", "location": body{"country": "Italia"}}, "", netherlands},
		"the contact's country is none: the location's":     {body{"country": "somewhere", "location": body{"country": "IT"}}, "", italy},
		"the location in which the contact was met before":  {body{}, "loc-fr", france},
		"the payload's location before one of before":       {body{"locationId": "loc1"}, "loc-fr", netherlands},
		"a location without an id, and one that was before": {body{"location": body{"country": "IT"}}, "loc1", italy},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := w.n.Add(1)
			want := fmt.Sprintf(tt.want, n)
			person := tt.body.with(body{"phone": fmt.Sprintf("06 123 %05d", n)})
			lead, contact := w.lead(), &operation.Contact{Store: w.store, Regions: regions}
			lead.Regions = regions
			verityID := w.inVerity(want, "")

			for kind, run := range map[string]func(id string) operation.Outcome{
				"contact": func(id string) operation.Outcome {
					return contact.Run(t.Context(), claimed(t, person.with(body{"contact_id": id})))
				},
				"lead": func(id string) operation.Outcome {
					return lead.Run(t.Context(), claimed(t, workflow(w.appointment(), person.with(body{"contact_id": id}))))
				},
			} {
				id := fmt.Sprintf("%s-of-%s", w.stranger().ghl, kind)
				if tt.met != "" {
					require.NoError(t, w.store.RememberContact(t.Context(), store.Mapping{GHLContactID: id, LocationID: tt.met}, at(0)))
				}
				out := run(id)
				require.NoError(t, out.Err, kind)
				m, err := w.store.Mapping(t.Context(), id)
				require.NoError(t, err)
				assert.Equal(t, want, m.Phone, kind)
				if kind == "lead" {
					assert.Equal(t, verityID, out.VerityContactID)
				}
			}
		})
	}

	t.Run("what GoHighLevel says of a contact without a country", func(t *testing.T) {
		t.Parallel()
		g, x, a, n := newGHL(t), w.stranger(), w.appointment(), w.n.Add(1)
		g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: fmt.Sprintf("06 123 %05d", n)})
		verityID := w.inVerity(fmt.Sprintf(italy, n), "")
		lead := w.lead()
		lead.GHL, lead.Regions = g.api, operation.Regions{Default: "NL", Locations: map[string]string{location: "IT"}}
		out := lead.Run(t.Context(), claimed(t, booked(a, x.ghl, 1)))
		require.NoError(t, out.Err)
		assert.Equal(t, verityID, out.VerityContactID)
	})
}
