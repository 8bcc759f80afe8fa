package ghl_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// TestReportsOfDealsAndOrders compares real bodies about deals and orders with testdata/reports/expected.tsv.
func TestReportsOfDealsAndOrders(t *testing.T) {
	t.Parallel()
	expected := readTable(t, filepath.Join("testdata", "reports", "expected.tsv"))
	bodies := readBodies(t, "reports")
	// After all events of the reports.
	after := received.AddDate(0, 1, 0)
	for _, report := range []string{"p04-opportunity-camel-case", "p09-ordercreate-altid"} {
		t.Run(report, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, expected, report)
			body, err := ghl.Decode(jsonType, []byte(bodies[report]))
			require.NoError(t, err)
			assert.Equal(t, expected[report], columns(ghl.Normalise(body, after)))
		})
	}
}

func TestTheMarksOfADealDecideItsType(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, entity, id string }{
		"pipelineId":               {`{"id":"o","contactId":"c","pipelineId":"p"}`, "opportunity", "o"},
		"pipelineStageId":          {`{"id":"o","contactId":"c","pipelineStageId":"s"}`, "opportunity", "o"},
		"pipeline_stage_id":        {`{"id":"o","contact_id":"c","pipeline_stage_id":"s"}`, "opportunity", "o"},
		"monetaryValue":            {`{"id":"o","contactId":"c","monetaryValue":4200.50}`, "opportunity", "o"},
		"a monetaryValue of 0":     {`{"id":"o","contactId":"c","monetaryValue":0}`, "opportunity", "o"},
		"monetary_value as a form": {`{"id":"o","contact_id":"c","monetary_value":"10"}`, "opportunity", "o"},
		"opportunityName":          {`{"id":"o","contactId":"c","opportunityName":"Deal"}`, "opportunity", "o"},
		"opportunityId":            {`{"opportunityId":"o","contactId":"c","name":"Deal"}`, "opportunity", "o"},
		"opportunity_id":           {`{"opportunity_id":"o","contact_id":"c"}`, "opportunity", "o"},
		"opportunityId before id":  {`{"id":"x","opportunityId":"o","contactId":"c","pipelineId":"p"}`, "opportunity", "o"},
		"no contact":               {`{"id":"o","pipelineId":"p"}`, "opportunity", "o"},

		"an empty mark is ignored":                {`{"contactId":"c","pipelineId":"","monetaryValue":null,"opportunityId":""}`, "contact", "c"},
		"a template is not a mark":                {`{"contactId":"c","pipelineId":"{{opportunity.pipeline}}"}`, "contact", "c"},
		"a mark in customData is a workflow's":    {`{"contact_id":"c","customData":{"pipelineId":"p","opportunityId":"o"}}`, "contact", "c"},
		"a note that refers to a deal":            {`{"contactId":"c","opportunityId":"o","noteId":"n"}`, "contact", "c"},
		"a task that refers to a deal":            {`{"contact_id":"c","opportunity_id":"o","task_id":"n"}`, "contact", "c"},
		"an appointment that refers to a deal":    {`{"contact_id":"c","pipeline_id":"p","calendar":{"appointmentId":"a"}}`, "appointment", "a"},
		"a type comes before any mark":            {`{"type":"NoteCreate","id":"n","contactId":"c","opportunityId":"o"}`, "note", "n"},
		"a deal's id is not the contact's":        {`{"id":"o","pipelineId":"p","customData":{"type":"ContactUpdate"}}`, "contact", ""},
		"an order that repeats its contact alone": {`{"_id":"o","contactSnapshot":{"id":"c"}}`, "unknown", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := normalise(t, test.body)
			assert.Equal(t, test.entity, e.EntityType)
			assert.Equal(t, test.id, e.EntityID)
		})
	}
}

func TestARootNameIsAPersonsOnlyInAContactsBody(t *testing.T) {
	t.Parallel()
	ada, noName := event.Person{FirstName: "Ada", LastName: "Example"}, event.Person{}
	for name, test := range map[string]struct {
		body string
		want event.Person
	}{
		"the type says contact":                 {`{"type":"ContactCreate","id":"c","name":"Ada Example","source":"x","assignedTo":"u"}`, ada},
		"the type says contact, dotted":         {`{"event":"contact.updated","contactId":"c","name":"Ada Example","company":"x"}`, ada},
		"customData has the type":               {`{"contactId":"c","name":"Ada Example","status":"x","customData":{"type":"contact"}}`, ada},
		"no type, and what contacts have alone": {`{"contact_id":"c","name":"Ada Example","tags":"a, b","locationId":"l","date_created":"x"}`, ada},
		"no type, and the contact's own id":     {`{"id":"c","contactId":"c","name":"Ada Example"}`, ada},

		"a deal":                             {`{"id":"o","contactId":"c","pipelineId":"p","name":"Case 2231 - kitchen remodel"}`, noName},
		"a deal that says contact":           {`{"id":"c","pipelineId":"p","name":"Case 2231","customData":{"type":"contact.updated"}}`, noName},
		"a deal by its status alone":         {`{"contactId":"c","name":"Case 2231","status":"open","source":"referral"}`, noName},
		"an entity with its own id":          {`{"id":"x","contactId":"c","name":"Case 2231"}`, noName},
		"the same, and the type says so":     {`{"type":"ContactUpdate","id":"x","contactId":"c","name":"Case 2231"}`, noName},
		"an invoice":                         {`{"contactId":"c","name":"Invoice 12","invoiceNumber":"12","amountDue":10}`, noName},
		"an invoice with an id":              {`{"_id":"i","contactId":"c","name":"Invoice 12"}`, noName},
		"a form":                             {`{"contact_id":"c","name":"Contact us","formId":"f"}`, noName},
		"a form's submission in snake case":  {`{"contact_id":"c","name":"Contact us","submission_id":"s"}`, noName},
		"a survey":                           {`{"contactId":"c","name":"How was it","surveyId":"s"}`, noName},
		"a task":                             {`{"contactId":"c","name":"Call back","dueDate":"2026-11-30"}`, noName},
		"a task by its assignee":             {`{"contactId":"c","name":"Call back","assignedTo":"u"}`, noName},
		"an order":                           {`{"contactId":"c","name":"Order 7","amount":149,"currency":"USD"}`, noName},
		"a payment":                          {`{"contactId":"c","name":"Visa","transactionId":"t"}`, noName},
		"a product":                          {`{"contactId":"c","name":"Kitchen","productType":"PHYSICAL"}`, noName},
		"a user":                             {`{"contactId":"c","name":"Agent Smith","role":"user"}`, noName},
		"a company":                          {`{"contactId":"c","name":"Example Ltd","companyId":"x"}`, noName},
		"a message":                          {`{"contactId":"c","name":"SMS","conversationId":"x","direction":"inbound"}`, noName},
		"a member with white space around":   {`{"contactId":"c","name":"Call back","\tdueDate":"2026-11-30"}`, noName},
		"a member with an escape":            {`{"contactId":"c","name":"Call back","due\u0044ate":"2026-11-30"}`, noName},
		"a workflow's custom field":          {`{"contact_id":"c","name":"Spaniel","workflow":{"id":"w"}}`, noName},
		"the type of another entity":         {`{"type":"UserCreate","contactId":"c","name":"Agent Smith"}`, noName},
		"full_name is the contact's anyway":  {`{"contact_id":"c","name":"Deal","full_name":"Ada Example","invoice_number":"12"}`, ada},
		"first_name is the contact's anyway": {`{"contact_id":"c","name":"Deal","first_name":"Ada","last_name":"Example"}`, ada},
		"and so is the contact block's name": {`{"name":"Deal","contact":{"id":"c","name":"Ada Example"},"dueDate":"x"}`, ada},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			assert.Equal(t, test.want, ghl.PersonOf(body, event.EntityContact))
		})
	}
}

func TestLocationOfAPayment(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, id string }{
		"altId of a location":                   {`{"type":"InvoiceCreate","altId":"l","altType":"location"}`, "l"},
		"altType in any case, with white space": {`{"type":"InvoicePaid","altId":" l ","altType":" Location "}`, "l"},
		"an unknown event":                      {`{"type":"SubscriptionCreate","altId":"l","altType":"location"}`, "l"},
		"the contact that it repeats":           {`{"type":"OrderCreate","contactSnapshot":{"id":"c","locationId":"l"}}`, "l"},
		"altId before the contact":              {`{"altId":"l","altType":"location","contactSnapshot":{"locationId":"x"}}`, "l"},
		"locationId before altId":               {`{"altId":"x","altType":"location","locationId":"l"}`, "l"},
		"altId before customData":               {`{"altId":"l","altType":"location","customData":{"locationId":"x"}}`, "l"},
		"altId in customData":                   {`{"customData":{"altId":"l","altType":"location"}}`, "l"},
		"the last of two":                       {`{"altId":"x","altType":"location","altId":"l"}`, "l"},
		"a company's":                           {`{"altId":"x","altType":"company"}`, ""},
		"an agency's":                           {`{"altId":"x","altType":"agency","contactSnapshot":{"locationId":"l"}}`, "l"},
		"no type":                               {`{"altId":"x"}`, ""},
		"a type that is not a string":           {`{"altId":"x","altType":1}`, ""},
		"a type at another level":               {`{"altId":"x","customData":{"altType":"location"}}`, ""},
		"the last of two types":                 {`{"altId":"x","altType":"location","altType":"company"}`, ""},
		"an empty template":                     {`{"altId":"{{location.id}}","altType":"location"}`, ""},
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
		"an own order, with a secret":              {ghl.ProofSecret, `{"altId":"loc-1","altType":"location"}`, nil},
		"an own order, by GHL's key alone":         {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"location"}`, nil},
		"an own order, by its contact":             {ghl.ProofPublishedKey, `{"contactSnapshot":{"locationId":"loc-2"}}`, nil},
		"another's order, with a secret":           {ghl.ProofSecret, `{"altId":"loc-3","altType":"location"}`, ghl.ErrLocationIgnored},
		"another's order, by an own key":           {ghl.ProofOwnKey, `{"altId":"loc-3","altType":"LOCATION"}`, ghl.ErrLocationIgnored},
		"another's order, from anyone":             {ghl.ProofNone, `{"altId":"loc-3","altType":"location"}`, ghl.ErrLocationIgnored},
		"another's order, by its contact":          {ghl.ProofSecret, `{"contactSnapshot":{"locationId":"loc-3"}}`, ghl.ErrLocationIgnored},
		"a company's, by GHL's key alone":          {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"company"}`, ghl.ErrLocationIgnored},
		"a configured altId, another's locationId": {ghl.ProofSecret, `{"altId":"loc-1","altType":"location","locationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"a configured locationId, another's altId": {ghl.ProofSecret, `{"altId":"loc-3","altType":"location","locationId":"loc-1"}`, ghl.ErrLocationIgnored},
		"a configured altId, another's contact":    {ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"location","contactSnapshot":{"locationId":"loc-3"}}`, ghl.ErrLocationIgnored},
		"a configured locationId, another's block": {ghl.ProofSecret, `{"locationId":"loc-1","location":{"id":"loc-3"}}`, ghl.ErrLocationIgnored},
		"two configured locations":                 {ghl.ProofSecret, `{"altId":"loc-1","altType":"location","locationId":"loc-2"}`, nil},
		"two configured ones, by GHL's key alone": {
			ghl.ProofPublishedKey, `{"altId":"loc-1","altType":"location","locationId":"loc-2"}`, ghl.ErrLocationIgnored,
		},
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
