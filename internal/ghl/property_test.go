package ghl_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// propertyBodies are bodies of every kind.
func propertyBodies(t *testing.T) map[string]string {
	t.Helper()
	bodies := readBodies(t, "samples")
	maps.Copy(bodies, readBodies(t, "reports"))
	maps.Copy(bodies, map[string]string{
		"flat contact":            `{"id":"c","firstName":"Ida","phone":"+12025550173","customData":{}}`,
		"contact by name":         `{"id":"c","name":"Ida Example","phone":"+12025550173"}`,
		"opportunity, customData": `{"customData":{"id":"o","pipelineId":"p","name":"Roof","contactId":"c"}}`,
		"appointment, customData": `{"contact_id":"c","customData":{"appointmentId":"a","calendarId":"cal","status":"no-show"}}`,
		"the API's appointment":   `{"id":"a","calendarId":"cal","contactId":"c","startTime":"x","appointmentStatus":"Canceled"}`,
		"an event's own name":     `{"event":"appointment_cancelled","appointmentId":"a","contactId":"c"}`,
		"an own word":             `{"customData":{"type":"webinar"},"contact_id":"c"}`,
		"an invoice":              `{"type":"InvoicePaid","_id":"i","altId":"l","altType":"location"}`,
	})
	return bodies
}

func TestIrrelevantChangesDoNotChangeAReading(t *testing.T) {
	t.Parallel()
	for name, text := range propertyBodies(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := normalise(t, text)
			for seed := range uint64(50) {
				random := rand.New(rand.NewPCG(seed, 1))
				for property, o := range map[string]rewrite{
					"keys in another order":              {shuffle: true},
					"white space":                        {space: true},
					"unknown keys":                       {unknown: true},
					"types and statuses in another case": {recase: true},
					"all of them together":               {shuffle: true, space: true, unknown: true, recase: true},
				} {
					o.random = random
					again := o.of(t, text)
					require.Equal(t, want, normalise(t, again), "%s:\n%s", property, again)
				}
			}
		})
	}
}

// rewrite is a way to rewrite a body.
type rewrite struct {
	random                          *rand.Rand
	shuffle, space, unknown, recase bool
}

func (w rewrite) of(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	require.NoError(t, decoder.Decode(&value))
	w.write(t, &out, "", value)
	return out.String()
}

func (w rewrite) write(t *testing.T, out *bytes.Buffer, key string, value any) {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(value))
		if w.unknown {
			for range w.random.IntN(4) {
				keys = append(keys, fmt.Sprintf("Ünknown field %d", w.random.Int()))
			}
		}
		if w.shuffle {
			w.random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		}
		out.WriteString(w.blank() + "{")
		for i, key := range keys {
			if i > 0 {
				out.WriteString(",")
			}
			member, known := value[key]
			if !known {
				member = []any{"x", 1, nil, true, map[string]any{"id": "x", "type": "ContactCreate"}}[w.random.IntN(5)]
			}
			quoted, err := json.Marshal(key)
			require.NoError(t, err)
			out.WriteString(w.blank() + string(quoted) + w.blank() + ":")
			w.write(t, out, key, member)
		}
		out.WriteString("}" + w.blank())
	case string:
		if w.recase && slices.Contains([]string{"status", "appointmentStatus", "appoinmentStatus", "altType"}, key) ||
			w.recase && (key == "type" || key == "event") && isKnown(value) {
			value = []string{strings.ToUpper(value), strings.ToLower(value)}[w.random.IntN(2)]
		}
		quoted, err := json.Marshal(value)
		require.NoError(t, err)
		out.WriteString(w.blank() + string(quoted) + w.blank())
	default:
		text, err := json.Marshal(value)
		require.NoError(t, err)
		out.WriteString(w.blank() + string(text) + w.blank())
	}
}

func isKnown(typ string) bool {
	_, known := ghl.TypeOf(typ)
	return known
}

func (w rewrite) blank() string {
	if !w.space {
		return ""
	}
	return []string{"", " ", "\n", "\t", "\r\n  "}[w.random.IntN(5)]
}

// TestNoEntityHasTheIDOfSomethingElse builds bodies from the members that rules read, with ids that name their owner.
func TestNoEntityHasTheIDOfSomethingElse(t *testing.T) {
	t.Parallel()
	members := map[string]string{
		`"calendarId"`: `"calendar"`, `"calendar_id"`: `"calendar"`, `"contactId"`: `"contact"`, `"contact_id"`: `"contact"`,
		`"pipelineId"`: `"pipeline"`, `"pipeline_id"`: `"pipeline"`, `"pipelineStageId"`: `"pipeline"`,
		`"calendar"`: `{"id":"calendar","status":"booked"}`, `"contact"`: `{"id":"contact"}`,
		`"appointment"`: `{"calendarId":"calendar","contactId":"contact"}`, `"startTime"`: `"2026-12-03T15:00:00Z"`,
		`"status"`: `"confirmed"`, `"firstName"`: `"Ida"`, `"phone"`: `"+12025550173"`, `"name"`: `"Ida"`,
	}
	types := []string{`"AppointmentUpdate"`, `"appointment"`, `"opportunity"`, `"OpportunityCreate"`, `"appointment_booked"`, `"contact"`, `"x"`}
	ids := []string{`"calendar"`, `"contact"`, `"pipeline"`}
	names := slices.Sorted(maps.Keys(members))
	random := rand.New(rand.NewPCG(14, 14))
	level := func() []string {
		var out []string
		for _, name := range names {
			if random.IntN(3) == 0 {
				out = append(out, name+":"+members[name])
			}
		}
		for _, name := range []string{`"type"`, `"event"`} {
			if random.IntN(4) == 0 {
				out = append(out, name+":"+types[random.IntN(len(types))])
			}
		}
		return out
	}
	for range 50_000 {
		root, inner := level(), level()
		id := ids[random.IntN(len(ids))]
		// In the body, the id belongs to something else.
		owners := map[string]string{
			`"calendar"`: `"calendarId":"calendar","appointmentId":"calendar"`, `"contact"`: `"contact_id":"contact"`, `"pipeline"`: `"pipelineId":"pipeline"`,
		}
		root = append(root, owners[id], `"id":`+id, `"data":{"id":`+id+`}`)
		inner = append(inner, owners[id], `"id":`+id)
		body := "{" + strings.Join(root, ",") + `,"customData":{` + strings.Join(inner, ",") + "}}"
		e := normalise(t, body)
		if e.EntityType == event.EntityContact {
			require.Contains(t, []string{"", "contact"}, e.EntityID, body)
			continue
		}
		require.NotContains(t, []string{"calendar", "contact", "pipeline"}, e.EntityID, body)
		require.Contains(t, []string{"", "contact"}, e.ContactID, body)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	body, err := ghl.Decode(jsonType, []byte(readBodies(t, "reports")["p01-customdata-own-word"]))
	require.NoError(t, err)
	explained := ghl.Explain(body, received)
	assert.Equal(t, ghl.Normalise(body, received), explained.Event)
	rules := map[string]string{}
	for _, d := range explained.Fields {
		rules[d.Field] = d.Value + " by " + d.Rule
		if d.Value != "" {
			assert.NotEmpty(t, d.Source, d.Field)
		}
	}
	assert.Equal(t, map[string]string{
		ghl.FieldType:       "appointment.created by the appointment or calendar block with an appointment's id",
		ghl.FieldContactID:  "ctExampleContactP01 by contact_id",
		ghl.FieldEntityID:   "aptExampleApptP01 by calendar.appointmentId",
		ghl.FieldStatus:     "confirmed by calendar.appoinmentStatus",
		ghl.FieldLocationID: "locExampleLocation01 by location.id",
		ghl.FieldOccurredAt: " by ",
		ghl.FieldDedupeKey:  " by ",
	}, rules)
}
