package ghl_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// normalise decodes and normalises a JSON object.
func normalise(tb testing.TB, text string) event.Event {
	tb.Helper()
	body, err := ghl.Decode(jsonType, []byte(text))
	require.NoError(tb, err, text)
	return ghl.Normalise(body, received)
}

func ofType(tb testing.TB, typ string) event.Event {
	tb.Helper()
	text, err := json.Marshal(map[string]string{"type": typ})
	require.NoError(tb, err)
	return normalise(tb, string(text))
}

// marketplaceTypes are all types that GoHighLevel documents.
var marketplaceTypes = map[string]string{
	"INSTALL":                        "app.installed",
	"UNINSTALL":                      "app.uninstalled",
	"PLAN_CHANGE":                    "app.plan_changed",
	"AppUpdate":                      "app.updated",
	"AppointmentCreate":              "appointment.created",
	"AppointmentUpdate":              "appointment.updated",
	"AppointmentDelete":              "appointment.deleted",
	"AppointmentStatusUpdate":        "appointment.status_updated",
	"AssociationCreate":              "association.created",
	"AssociationUpdate":              "association.updated",
	"AssociationDelete":              "association.deleted",
	"CampaignStatusUpdate":           "campaign.status_updated",
	"ContactCreate":                  "contact.created",
	"ContactUpdate":                  "contact.updated",
	"ContactDelete":                  "contact.deleted",
	"ContactDndUpdate":               "contact.dnd_updated",
	"ContactTagUpdate":               "contact.tag_updated",
	"ConversationUnreadUpdate":       "conversation.unread_updated",
	"InboundMessage":                 "message.inbound",
	"OutboundMessage":                "message.outbound",
	"ProviderOutboundMessage":        "message.provider_outbound",
	"InvoiceCreate":                  "invoice.created",
	"InvoiceUpdate":                  "invoice.updated",
	"InvoiceDelete":                  "invoice.deleted",
	"InvoiceSent":                    "invoice.sent",
	"InvoicePaid":                    "invoice.paid",
	"InvoicePartiallyPaid":           "invoice.partially_paid",
	"InvoiceVoid":                    "invoice.voided",
	"LCEmailStats":                   "email.stats",
	"LocationCreate":                 "location.created",
	"LocationUpdate":                 "location.updated",
	"NoteCreate":                     "note.created",
	"NoteUpdate":                     "note.updated",
	"NoteDelete":                     "note.deleted",
	"ObjectSchemaCreate":             "object_schema.created",
	"ObjectSchemaUpdate":             "object_schema.updated",
	"OpportunityCreate":              "opportunity.created",
	"OpportunityUpdate":              "opportunity.updated",
	"OpportunityDelete":              "opportunity.deleted",
	"OpportunityStageUpdate":         "opportunity.stage_updated",
	"OpportunityStatusUpdate":        "opportunity.status_updated",
	"OpportunityAssignedToUpdate":    "opportunity.assigned_to_updated",
	"OpportunityMonetaryValueUpdate": "opportunity.monetary_value_updated",
	"OrderCreate":                    "order.created",
	"OrderStatusUpdate":              "order.status_updated",
	"PriceCreate":                    "price.created",
	"PriceUpdate":                    "price.updated",
	"PriceDelete":                    "price.deleted",
	"ProductCreate":                  "product.created",
	"ProductUpdate":                  "product.updated",
	"ProductDelete":                  "product.deleted",
	"RecordCreate":                   "record.created",
	"RecordUpdate":                   "record.updated",
	"RecordDelete":                   "record.deleted",
	"RelationCreate":                 "relation.created",
	"RelationDelete":                 "relation.deleted",
	"SaaSPlanCreate":                 "saas_plan.created",
	"TaskCreate":                     "task.created",
	"TaskComplete":                   "task.completed",
	"TaskDelete":                     "task.deleted",
	"UserCreate":                     "user.created",
	"UserUpdate":                     "user.updated",
	"UserDelete":                     "user.deleted",
	"VoiceAiCallEnd":                 "voice_ai_call.ended",
}

func TestMarketplaceTypesInEverySpelling(t *testing.T) {
	t.Parallel()
	for typ, want := range marketplaceTypes {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			entity, _, _ := strings.Cut(want, ".")
			for _, spelling := range []string{
				typ, strings.ToLower(typ), strings.ToUpper(typ), " " + typ + "\n",
				want, strings.ToUpper(want), strings.NewReplacer(".", "_").Replace(want),
				strings.NewReplacer(".", " ", "_", " ").Replace(want), strings.NewReplacer(".", "-", "_", "-").Replace(want),
				strings.NewReplacer(".", ":", "_", "").Replace(want),
			} {
				e := ofType(t, spelling)
				assert.Equal(t, want, e.Type, spelling)
				assert.Equal(t, entity, e.EntityType, spelling)
			}
		})
	}
}

func TestTypesBeyondTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]event.Event{
		// A new aspect or action of a known entity follows the rule of the others.
		"ContactCustomFieldUpdate":    {Type: "contact.custom_field_updated", EntityType: "contact"},
		"contact_custom_field_update": {Type: "contact.custom_field_updated", EntityType: "contact"},
		"Contact DND Settings Update": {Type: "contact.dnd_settings_updated", EntityType: "contact"},
		"ObjectSchemaLabelUpdate":     {Type: "object_schema.label_updated", EntityType: "object_schema"},
		"AppointmentNotesUpdated":     {Type: "appointment.notes_updated", EntityType: "appointment"},
		"TaskUpdate":                  {Type: "task.updated", EntityType: "task"},
		"appointment-completed":       {Type: "appointment.completed", EntityType: "appointment"},
		"appointment.create":          {Type: "appointment.created", EntityType: "appointment"},
		"contact.tag.update":          {Type: "contact.tag_updated", EntityType: "contact"},
		// A dotted type stays, and its first part is the entity.
		"appointment.rescheduled":    {Type: "appointment.rescheduled", EntityType: "appointment"},
		"Contact.MergedInto":         {Type: "contact.merged_into", EntityType: "contact"},
		"object_schema.field.added":  {Type: "object_schema.field.added", EntityType: "object_schema"},
		"calendar.synced":            {Type: "calendar.synced", EntityType: "unknown"},
		"..calendar..synced..":       {Type: "calendar.synced", EntityType: "unknown"},
		"application.status_updated": {Type: "application.status_updated", EntityType: "unknown"},
		// An unknown type keeps its own name.
		"ContactMerge":            {Type: "contact_merge", EntityType: "unknown"},
		"applicationupdate":       {Type: "applicationupdate", EntityType: "unknown"},
		"ApplicationStatusUpdate": {Type: "application_status_update", EntityType: "unknown"},
		"ExternalAuthConnected":   {Type: "external_auth_connected", EntityType: "unknown"},
		"EXTERNAL_AUTH-connected": {Type: "external_auth_connected", EntityType: "unknown"},
		"SMSReceived":             {Type: "sms_received", EntityType: "unknown"},
		"Widget2Update":           {Type: "widget2_update", EntityType: "unknown"},
		"newappointment":          {Type: "newappointment", EntityType: "unknown"},
		"Événement créé":          {Type: "événement_créé", EntityType: "unknown"},
		"予約":                      {Type: "予約", EntityType: "unknown"},
		"a\x00b":                  {Type: "a_b", EntityType: "unknown"},
		"Update":                  {Type: "update", EntityType: "unknown"},
		"email":                   {Type: "email", EntityType: "unknown"},
		"":                        {Type: "unknown", EntityType: "unknown"},
		" ?!. ":                   {Type: "unknown", EntityType: "unknown"},
		strings.Repeat("x", 200):  {Type: strings.Repeat("x", 128), EntityType: "unknown"},
		strings.Repeat("é", 100):  {Type: strings.Repeat("é", 64), EntityType: "unknown"},
		// An entity alone: the rest follows from the body.
		"Appointment": {Type: "appointment.created", EntityType: "appointment"},
		"contact":     {Type: "contact.updated", EntityType: "contact"},
		"OPPORTUNITY": {Type: "opportunity.updated", EntityType: "opportunity"},
	} {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			want.Source = "ghl"
			assert.Equal(t, want, ofType(t, typ))
		})
	}
}

func TestNormalisedTypesNormaliseToThemselves(t *testing.T) {
	t.Parallel()
	for typ := range marketplaceTypes {
		once := ofType(t, typ)
		assert.Equal(t, once, ofType(t, once.Type))
	}
}

func TestWhereATypeIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ body, typ string }{
		"type":                     {`{"type":"ContactCreate"}`, "contact.created"},
		"event":                    {`{"event":"contact.created"}`, "contact.created"},
		"customData":               {`{"customData":{"type":"ContactCreate"}}`, "contact.created"},
		"a key with a leading tab": {`{"\ttype":"ContactCreate"}`, "contact.created"},
		"a key with other white space in customData": {`{"customData":{"  type\u00a0":"ContactCreate"}}`, "contact.created"},
		"an escaped key": {`{"\u0074ype":"ContactCreate"}`, "contact.created"},

		"the last of duplicates":                        {`{"type":"NoteCreate","type":"ContactCreate"}`, "contact.created"},
		"the exact key before a padded one":             {`{" type":"NoteCreate","type":"ContactCreate","type ":"NoteCreate"}`, "contact.created"},
		"type before event":                             {`{"event":"NoteCreate","type":"ContactCreate"}`, "contact.created"},
		"the root before customData":                    {`{"customData":{"type":"NoteCreate"},"event":"ContactCreate"}`, "contact.created"},
		"a known event before an unknown type":          {`{"type":"webhook","event":"ContactCreate"}`, "contact.created"},
		"a known customData type before an unknown one": {`{"type":"webhook","customData":{"type":"ContactCreate"}}`, "contact.created"},
		"the first of unknown ones":                     {`{"type":"one","event":"two","customData":{"type":"three"}}`, "one"},

		"an empty type is ignored": {`{"type":" ","event":"ContactCreate"}`, "contact.created"},
		"null is ignored":          {`{"type":null,"event":"ContactCreate"}`, "contact.created"},
		"an object is ignored":     {`{"type":{"type":"NoteCreate"},"event":"ContactCreate"}`, "contact.created"},
		"an array is ignored":      {`{"type":["NoteCreate"],"event":"ContactCreate"}`, "contact.created"},
		"a number is ignored":      {`{"type":5,"event":"ContactCreate"}`, "contact.created"},
		"keys are case-sensitive":  {`{"Type":"NoteCreate","EVENT":"NoteCreate"}`, "unknown"},
		"nested types are ignored": {`{"source":{"type":"NoteCreate"},"data":{"type":"NoteCreate"}}`, "unknown"},
		"customData as a string":   {`{"customData":"type"}`, "unknown"},
		"customData as an array":   {`{"customData":[{"type":"NoteCreate"}]}`, "unknown"},
		"event-type is not a type": {`{"customData":{"event-type":"newappointment"}}`, "unknown"},

		"a custom field called type in a workflow body": {
			`{"type":"Wedding","event":"Reception","contact_id":"c","workflow":{"id":"w"}}`, "contact.updated",
		},
		"a custom field that names an entity in a workflow body": {
			`{"type":"Contact","calendar":{"appointmentId":"a"},"workflow":{"id":"w"}}`, "appointment.created",
		},
		"a custom field in a workflow body without a shape": {`{"type":"Wedding","workflow":{"id":"w"}}`, "wedding"},
		"an unknown type in a workflow body's customData counts": {
			`{"customData":{"type":"Wedding"},"contact_id":"c","workflow":{"id":"w"}}`, "wedding",
		},
		"an unknown marketplace type with a contact": {`{"type":"ContactMerge","contactId":"c"}`, "contact_merge"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.typ, normalise(t, test.body).Type)
		})
	}
}
