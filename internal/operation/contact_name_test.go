package operation_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/operation"
)

// TestWhatIsNotAContactLeavesTheContactsName has Aloware know a person, and then something else that has a name come in.
func TestWhatIsNotAContactLeavesTheContactsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, other := range map[string]body{
		"a deal":                 {"id": "o", "name": "Case 2231 - kitchen remodel", "pipelineId": "p", "monetaryValue": 4200, "status": "open"},
		"a deal in snake case":   {"id": "o", "name": "Case 2231 - kitchen remodel", "pipeline_stage_id": "s"},
		"a deal without a mark":  {"name": "Case 2231 - kitchen remodel", "status": "open", "source": "referral"},
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
			x := w.stranger()
			op := &operation.Contact{Store: w.store, Aloware: client, Breaker: patient("aloware"), Regions: inUS}
			person := body{"phone": x.phone, "firstName": "Paul", "lastName": "Example"}
			require.NoError(t, op.Run(t.Context(), claimed(t, changed("ContactCreate", x.ghl, 1, person))).Err)

			event := claimed(t, body{"contactId": x.ghl, "locationId": location, "phone": x.phone}.with(other))
			if op.Spec().Serves(event.Event.EntityType) {
				require.NoError(t, op.Run(t.Context(), event).Err)
			}
			require.Len(t, sim.Contacts(), 1)
			assert.Equal(t, "Paul Example", sim.Contacts()[0].FirstName+" "+sim.Contacts()[0].LastName)
		})
	}
}
