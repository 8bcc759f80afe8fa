package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/operation"
)

// TestNameOfAnotherEntityIsNotSyncedToAloware sends events of other entities that have a name and the contact's id.
func TestNameOfAnotherEntityIsNotSyncedToAloware(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t)
	for name, other := range map[string]body{
		"a deal":                 {"id": "o", "name": "Case 2231 - kitchen remodel", "pipelineId": "p", "monetaryValue": 4200, "status": "open"},
		"a deal in snake case":   {"id": "o", "name": "Case 2231 - kitchen remodel", "pipeline_stage_id": "s"},
		"a deal without an id":   {"name": "Case 2231 - kitchen remodel", "status": "open", "source": "referral"},
		"an invoice":             {"_id": "i", "name": "Invoice 12", "invoiceNumber": "12", "amountDue": 10, "dueDate": "2026-12-01"},
		"a form":                 {"formId": "f", "name": "Contact us"},
		"a task":                 {"taskId": "t", "name": "Call back", "dueDate": "2026-12-01"},
		"a product":              {"name": "Kitchen", "productId": "p"},
		"a user, by its type":    {"type": "UserCreate", "id": "u", "name": "Agent Smith"},
		"a company, by its type": {"type": "CompanyUpdate", "id": "x", "name": "Example Ltd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, client := newAloware(t)
			x := env.newContact()
			op := &operation.Contact{Store: env.store, Aloware: client, Breaker: closedBreaker("aloware"), Regions: inUS}
			person := body{"phone": x.phone, "firstName": "Paul", "lastName": "Example"}
			require.NoError(t, op.Run(t.Context(), attempt(t, changed("ContactCreate", x.ghl, 1, person))).Err)

			event := attempt(t, body{"contactId": x.ghl, "locationId": location, "phone": x.phone}.with(other))
			if op.Spec().Serves(event.Event.EntityType) {
				require.NoError(t, op.Run(t.Context(), event).Err)
			}
			require.Len(t, sim.Contacts(), 1)
			assert.Equal(t, "Paul Example", sim.Contacts()[0].FirstName+" "+sim.Contacts()[0].LastName)
		})
	}
}
