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

// TestRegionOfAPhoneNumber uses a number that is valid in France (33), Italy (39) and the Netherlands (31). The Netherlands are the default,
// and France is configured for the location loc-fr.
func TestRegionOfAPhoneNumber(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	regions := operation.Regions{Default: "NL", Locations: map[string]string{"loc-fr": "FR"}}
	const france, italy, netherlands = "+336123%05d", "+3906123%05d", "+316123%05d"
	tests := map[string]struct {
		body body
		// stored is the location that is stored for the contact.
		stored string
		want   string
	}{
		"neither country is known":                                          {body{}, "", netherlands},
		"the contact's country":                                             {body{"country": "it"}, "", italy},
		"the contact's country takes precedence over the location's":        {body{"country": "IT", "location": body{"id": "loc-fr", "country": "NL"}}, "", italy},
		"the country of the payload's location":                             {body{"location": body{"id": "loc1", "country": "IT"}}, "", italy},
		"the country of the location in customData":                         {body{"customData": body{"location": body{"id": "loc1", "country": "IT"}}}, "", italy},
		"the configured region of the location":                             {body{"locationId": "loc-fr"}, "", france},
		"the configured region takes precedence over the payload's country": {body{"location": body{"id": "loc-fr", "country": "IT"}}, "", france},
		"the configured region of another location is not used":             {body{"locationId": "loc1"}, "", netherlands},
		"invalid countries are ignored":                                     {body{"country": "somewhere", "location": body{"country": "Italia"}}, "", netherlands},
		"an invalid country of the contact is ignored":                      {body{"country": "somewhere", "location": body{"country": "IT"}}, "", italy},
		"the stored location":                                               {body{}, "loc-fr", france},
		"the payload's location takes precedence over the stored one":       {body{"locationId": "loc1"}, "loc-fr", netherlands},
		"the country of a payload's location without an id":                 {body{"location": body{"country": "IT"}}, "loc1", italy},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := env.n.Add(1)
			want := fmt.Sprintf(tt.want, n)
			person := tt.body.with(body{"phone": fmt.Sprintf("06 123 %05d", n)})
			lead, contact := env.lead(), &operation.Contact{Store: env.store, Regions: regions}
			lead.Regions = regions
			verityID := env.addToVerity(want, "")

			for kind, run := range map[string]func(id string) operation.Outcome{
				"contact": func(id string) operation.Outcome {
					return contact.Run(t.Context(), attempt(t, person.with(body{"contact_id": id})))
				},
				"lead": func(id string) operation.Outcome {
					return lead.Run(t.Context(), attempt(t, workflow(env.appointment(), person.with(body{"contact_id": id}))))
				},
			} {
				id := fmt.Sprintf("%s-of-%s", env.newContact().ghl, kind)
				if tt.stored != "" {
					require.NoError(t, env.store.RememberContact(t.Context(), store.Mapping{GHLContactID: id, LocationID: tt.stored}, at(0)))
				}
				out := run(id)
				require.NoError(t, out.Err, kind)
				m, err := env.store.Mapping(t.Context(), id)
				require.NoError(t, err)
				assert.Equal(t, want, m.Phone, kind)
				if kind == "lead" {
					assert.Equal(t, verityID, out.VerityContactID)
				}
			}
		})
	}

	t.Run("the configured region applies to the number at GoHighLevel", func(t *testing.T) {
		t.Parallel()
		g, x, a, n := newGHL(t), env.newContact(), env.appointment(), env.n.Add(1)
		g.PutContact(ghlsim.Contact{ID: x.ghl, LocationID: location, Phone: fmt.Sprintf("06 123 %05d", n)})
		verityID := env.addToVerity(fmt.Sprintf(italy, n), "")
		lead := env.lead()
		lead.GHL, lead.Regions = g.api, operation.Regions{Default: "NL", Locations: map[string]string{location: "IT"}}
		out := lead.Run(t.Context(), attempt(t, booked(a, x.ghl, 1)))
		require.NoError(t, out.Err)
		assert.Equal(t, verityID, out.VerityContactID)
	})
}
