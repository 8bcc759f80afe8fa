package ghl_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// TestReportsOfDealsAndOrders holds what the field sends of deals and orders against testdata/reports/expected.tsv.
func TestReportsOfDealsAndOrders(t *testing.T) {
	t.Parallel()
	expected := readTable(t, filepath.Join("testdata", "reports", "expected.tsv"))
	bodies := readBodies(t, "reports")
	// Everything in the reports has happened by then.
	after := received.AddDate(0, 1, 0)
	for _, report := range []string{"p09-ordercreate-altid"} {
		t.Run(report, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, expected, report)
			body, err := ghl.Decode(jsonType, []byte(bodies[report]))
			require.NoError(t, err)
			assert.Equal(t, expected[report], columns(ghl.Normalise(body, after)))
		})
	}
}

func TestLocationOfAPayment(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, id string }{
		"altId of a location":                   {`{"type":"InvoiceCreate","altId":"l","altType":"location"}`, "l"},
		"altType in any case, with white space": {`{"type":"InvoicePaid","altId":" l ","altType":" Location "}`, "l"},
		"an event that nobody knows":            {`{"type":"SubscriptionCreate","altId":"l","altType":"location"}`, "l"},
		"the contact that it repeats":           {`{"type":"OrderCreate","contactSnapshot":{"id":"c","locationId":"l"}}`, "l"},
		"altId before the contact":              {`{"altId":"l","altType":"location","contactSnapshot":{"locationId":"x"}}`, "l"},
		"locationId before altId":               {`{"altId":"x","altType":"location","locationId":"l"}`, "l"},
		"altId before customData":               {`{"altId":"l","altType":"location","customData":{"locationId":"x"}}`, "l"},
		"altId in customData":                   {`{"customData":{"altId":"l","altType":"location"}}`, "l"},
		"the last of two":                       {`{"altId":"x","altType":"location","altId":"l"}`, "l"},
		"a company's":                           {`{"altId":"x","altType":"company"}`, ""},
		"an agency's":                           {`{"altId":"x","altType":"agency","contactSnapshot":{"locationId":"l"}}`, "l"},
		"no type":                               {`{"altId":"x"}`, ""},
		"a type that is no word":                {`{"altId":"x","altType":1}`, ""},
		"a type that stands elsewhere":          {`{"altId":"x","customData":{"altType":"location"}}`, ""},
		"the last of two types":                 {`{"altId":"x","altType":"location","altType":"company"}`, ""},
		"an id that is none":                    {`{"altId":"{{location.id}}","altType":"location"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.id, normalise(t, test.body).LocationID)
		})
	}
}

func TestAuthorizeAPayment(t *testing.T) {
	t.Parallel()
	cfg := ghl.AuthConfig{LocationIDs: []string{"loc-1", "loc-2"}}
	for name, test := range map[string]struct {
		proof ghl.Proof
		body  string
		want  error
	}{
		"an own order, with a secret":        {ghl.ProofSecret, `{"altId":"loc-1","altType":"location"}`, nil},
		"an own order, by GHL's key alone":   {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"location"}`, nil},
		"an own order, by its contact":       {ghl.ProofPublishedKey, `{"contactSnapshot":{"locationId":"loc-2"}}`, nil},
		"another's order, with a secret":     {ghl.ProofSecret, `{"altId":"loc-3","altType":"location"}`, ghl.ErrLocationIgnored},
		"another's order, by an own key":     {ghl.ProofOwnKey, `{"altId":"loc-3","altType":"LOCATION"}`, ghl.ErrLocationIgnored},
		"another's order, from anyone":       {ghl.ProofNone, `{"altId":"loc-3","altType":"location"}`, ghl.ErrLocationIgnored},
		"another's order, by its contact":    {ghl.ProofSecret, `{"contactSnapshot":{"locationId":"loc-3"}}`, ghl.ErrLocationIgnored},
		"a company's, by GHL's key alone":    {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"company"}`, ghl.ErrLocationIgnored},
		"our altId, another's locationId":    {ghl.ProofSecret, `{"altId":"loc-1","altType":"location","locationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"our locationId, another's altId":    {ghl.ProofSecret, `{"altId":"loc-3","altType":"location","locationId":"loc-1"}`, ghl.ErrLocationIgnored},
		"our altId, another's contact":       {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"location","contactSnapshot":{"locationId":"loc-3"}}`, ghl.ErrLocationIgnored},
		"our locationId, another's block":    {ghl.ProofSecret, `{"locationId":"loc-1","location":{"id":"loc-3"}}`, ghl.ErrLocationIgnored},
		"two locations that are both wanted": {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"location","locationId":"loc-2"}`, nil},
		"a workflow's own word in customData": {
			ghl.ProofSecret, `{"location":{"id":"loc-1"},"location_id":"Downtown","customData":{"locationId":"store-12"}}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			err = verifier(t, cfg).Authorize(test.proof, body, ghl.Normalise(body, received))
			require.ErrorIs(t, err, test.want)
		})
	}
}
