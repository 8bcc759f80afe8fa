package faults

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// at is a moment of a made-up history, in seconds.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

const phone = "+12125551000"

// sound is a history in which all is well: a contact that changes, an appointment that is booked, forwarded again after a crash, and
// called off, another one that stays, and one without an id.
func sound() *History {
	h := &History{
		Seed: 7, Aloware: map[string]string{phone: "Ann"}, Leads: []Lead{{phone, "stays"}},
		Shown: map[string]string{"contact-id": "Done", "invalid-id": "Error"},
		Faults: []Fault{
			{Kind: "a receiver is killed", Begin: at(9), End: at(9.5), Recovered: at(9.6), Refuses: true},
			{Kind: "the leader is killed", Begin: at(20.3), End: at(20.4), Recovered: at(24), Forgets: true, Owed: []string{"booked-id"}, OwedFrom: at(20.3)},
			{Kind: "Verity answers 500", Begin: at(100), End: at(110), Recovered: at(111), Destination: DestinationVerity},
			{Kind: "all WebhookEvents are deleted", Begin: at(200), End: at(200.1), Recovered: at(201), Deletes: true},
			{Kind: "Aloware does not answer", Begin: at(28), End: at(29), Recovered: at(29.5), Destination: DestinationAloware},
			{
				Kind: "Aloware does not answer a crowd", Begin: at(60), End: at(72), Recovered: at(73),
				Destination: DestinationAloware, Stuck: DestinationAloware,
			},
			{Kind: "a process ended by itself", Begin: at(250), End: at(251), Unprobed: true},
		},
		Samples: []Sample{
			{At: at(0), Live: 1, RSS: map[string]int64{"receiver-0": 10}, LogBytes: map[string]int64{"receiver-0": 100}},
			{At: at(10), Live: 3, RSS: map[string]int64{"receiver-0": 20}, LogBytes: map[string]int64{"receiver-0": 150}},
		},
	}
	h.happen(10, Webhook{Key: "contact", Phone: phone, FirstName: "Ann", At: at(-60)})
	h.happen(20, Webhook{Key: "booked", Phone: phone, Appointment: "goes", Status: "confirmed", At: at(-50)})
	h.happen(30, Webhook{Key: "stays", Phone: phone, Appointment: "stays", Status: "confirmed", At: at(-55)})
	h.happen(40, Webhook{Key: "cancelled", Phone: phone, Appointment: "goes", Status: "cancelled", At: at(-40)})
	h.happen(50, Webhook{Key: "invalid", Phone: phone, At: at(-30), Invalid: true})
	h.happen(61, Webhook{Key: "waits", Phone: phone, FirstName: "Ann", At: at(-59)})
	h.row("waits").ProcessedAt, h.entry("waits", operationContact).Finished = at(75), at(74.9)
	h.happen(62, Webhook{Key: "passes", Phone: phone, Appointment: "stays", Status: "confirmed", At: at(-54)})
	h.Posts = append(h.Posts,
		Post{Webhook: "contact", Receiver: "receiver-0", Start: at(9.1), End: at(9.2), Err: "refused"},
		Post{Webhook: "contact", Receiver: "receiver-1", Start: at(9.3), End: at(9.4), Status: 429, RetryAfter: "1"},
		Post{Webhook: "contact", Receiver: "receiver-1", Start: at(11), End: at(11.1), Status: 200, ID: "contact-id", Outcome: "duplicate"})
	h.Sightings = slices.DeleteFunc(h.Sightings, func(s Sighting) bool { return s.Event == "waits-id" && s.Phase == "Done" })
	h.row("booked").ProcessedAt = at(24)
	h.Calls = append(h.Calls, Call{
		Destination: DestinationVerity, Key: "booked-id", SHA256: "sum of booked", Start: at(23), End: at(23.1), Status: 200,
	})
	h.Sightings = slices.DeleteFunc(h.Sightings, func(s Sighting) bool { return s.Event == "booked-id" })
	h.Sightings = append(h.Sightings, Sighting{At: at(24.5), Event: "booked-id", Change: "MODIFIED", Phase: "Done", Text: "Done"})
	h.entry("booked", operationForward).Finished = at(23.2)
	return h
}

// happen has a webhook posted, acknowledged, forwarded, synced, recorded and shown, within a second.
func (h *History) happen(seconds float64, w Webhook) {
	w.SHA256 = "sum of " + w.Key
	id := w.Key + "-id"
	row := Row{
		ID: id, DedupeKey: dedupeKey(w.Key), Status: statusDone, SHA256: w.SHA256, Attempts: 1, ReceivedAt: at(seconds + 0.1),
		ProcessedAt: at(seconds + 0.8),
	}
	sync := Entry{Event: id, Operation: "aloware.contact", Status: success, Finished: at(seconds + 0.7)}
	if w.Appointment != "" {
		sync.Operation = "verity.lead"
	}
	shown := Sighting{At: at(seconds + 0.9), Event: id, Change: "MODIFIED", Phase: "Done", Text: "Done"}
	if w.Invalid {
		row.Status, row.Reason, sync.Status, sync.Class = statusError, "InvalidPayload", "error", permanent
		shown.Phase, shown.Text = "Error", "InvalidPayload"
	}
	h.Webhooks = append(h.Webhooks, w)
	h.Rows = append(h.Rows, row)
	h.Posts = append(h.Posts, Post{
		Webhook: w.Key, Receiver: "receiver-0", Start: at(seconds), End: at(seconds + 0.2), Status: 200, ID: id, Outcome: "accepted",
	})
	h.Calls = append(h.Calls, Call{
		Destination: DestinationVerity, Key: id, SHA256: w.SHA256, Start: at(seconds + 0.3), End: at(seconds + 0.4), Status: 200,
	})
	h.Ledger = append(h.Ledger, Entry{Event: id, Operation: operationForward, Status: success, Finished: at(seconds + 0.4)}, sync)
	h.Sightings = append(h.Sightings, Sighting{At: at(seconds + 0.2), Event: id, Change: "ADDED", Phase: "Pending"}, shown)
}

// refuse has a contact's change, of some time at GHL, end in an error, since Aloware refuses all at the time.
func (h *History) refuse(changed time.Time) {
	h.Faults[4].Rejects = DestinationAloware
	h.happen(28.1, Webhook{Key: "refused", Phone: phone, FirstName: "Anna", At: changed})
	h.row("refused").Status, h.row("refused").Reason = statusError, "Rejected"
	h.entry("refused", operationContact).Status, h.entry("refused", operationContact).Class = "error", permanent
	h.Sightings[len(h.Sightings)-1].Phase = "Error"
}

func (h *History) row(key string) *Row {
	return &h.Rows[slices.IndexFunc(h.Rows, func(r Row) bool { return r.ID == key+"-id" })]
}

func (h *History) entry(key, operation string) *Entry {
	return &h.Ledger[slices.IndexFunc(h.Ledger, func(e Entry) bool { return e.Event == key+"-id" && e.Operation == operation })]
}

func (h *History) call(key string) *Call {
	return &h.Calls[slices.IndexFunc(h.Calls, func(c Call) bool { return c.Key == key+"-id" })]
}

var someLimits = Limits{
	Attempts: 12, Outage: 5, Probe: 10 * time.Second, Live: 10, RSS: 100, LogRate: 10,
	Delay: 6 * time.Second, Handover: 30 * time.Second, Recovery: time.Minute,
}

func TestASoundHistoryBreaksNothing(t *testing.T) {
	t.Parallel()
	assert.Empty(t, Check(sound(), someLimits))
}

func TestABrokenInvariantIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		invariant int
		breaks    func(*History)
	}{
		"a row is missing":                {1, func(h *History) { h.Rows = slices.DeleteFunc(h.Rows, func(r Row) bool { return r.ID == "contact-id" }) }},
		"an event is never finished":      {1, func(h *History) { h.row("contact").Status = "processing" }},
		"two ids for one webhook":         {1, func(h *History) { h.Posts[len(h.Posts)-1].ID = "stays-id" }},
		"an acknowledgement has no id":    {1, func(h *History) { h.Posts[0].ID = "" }},
		"other bytes were stored":         {1, func(h *History) { h.row("stays").SHA256 = "another" }},
		"an error is never shown":         {1, func(h *History) { h.Faults[3].Deletes, h.Sightings = false, h.Sightings[:4] }},
		"a repetition without a crash":    {2, func(h *History) { h.Faults[1].Forgets = false }},
		"a repetition long after a crash": {2, func(h *History) { h.call("booked").End, h.Faults[1].Begin = at(21), at(23.5) }},
		"a forward of an unknown event":   {2, func(h *History) { h.Calls = append(h.Calls, Call{Destination: DestinationVerity, Key: "unknown"}) }},
		"a forward of other bytes":        {2, func(h *History) { h.call("stays").SHA256 = "another" }},
		"a ledger with two successes":     {2, func(h *History) { h.Ledger = append(h.Ledger, *h.entry("stays", operationForward)) }},
		"a webhook that is stored twice": {2, func(h *History) {
			h.Rows = append(h.Rows, Row{ID: "other", DedupeKey: dedupeKey("contact"), Status: statusError})
		}},
		"done, but not forwarded":                  {3, func(h *History) { h.call("stays").Key = "contact-id" }},
		"done, but the ledger does not say synced": {3, func(h *History) { h.entry("stays", "verity.lead").Status = "error" }},
		"done before it was forwarded":             {3, func(h *History) { h.entry("stays", operationForward).Finished = at(99) }},
		"shown as done before it was recorded":     {3, func(h *History) { h.row("cancelled").ProcessedAt = at(45) }},
		"shown as done, and ended in error": {3, func(h *History) {
			h.Sightings = append(h.Sightings, Sighting{Event: "invalid-id", Phase: "Done", At: at(60)})
		}},
		"a finished event is forwarded after the deletion": {4, func(h *History) {
			again := *h.call("stays")
			again.Start = at(201)
			h.Calls = append(h.Calls, again)
		}},
		"a finished WebhookEvent is created again": {4, func(h *History) {
			h.Sightings = append(h.Sightings, Sighting{At: at(210), Event: "stays-id", Change: "ADDED", Phase: "Done"})
		}},
		"in the end it says something else than its row":   {3, func(h *History) { h.Shown["contact-id"] = "Error" }},
		"it shows what has no row":                         {3, func(h *History) { h.Shown["unknown"] = "Done" }},
		"a 500":                                            {5, func(h *History) { h.Posts[len(h.Posts)-2].Status = 500 }},
		"a 429 without a Retry-After":                      {5, func(h *History) { h.Posts[len(h.Posts)-2].RetryAfter = "" }},
		"no answer for no reason":                          {5, func(h *History) { h.Faults[0].Refuses = false }},
		"a refusal before the drain has ended":             {5, func(h *History) { h.Faults[0].Drains, h.Faults[0].Drain = "receiver-0", time.Second }},
		"a 429 through the balancer":                       {5, func(h *History) { h.Posts[len(h.Posts)-2].Receiver = Balancer }},
		"an answer before the storage":                     {5, func(h *History) { h.row("stays").ReceivedAt = at(30.3) }},
		"a lead that points at an older appointment's end": {6, func(h *History) { h.Leads[0].Appointment = "goes" }},
		"a lead that points nowhere":                       {6, func(h *History) { h.Leads = nil }},
		"two leads":                                        {6, func(h *History) { h.Leads = append(h.Leads, h.Leads[0]) }},
		"an unknown contact at Aloware":                    {6, func(h *History) { h.Aloware[phone] = "Anna" }},
		"an older contact at Aloware, although it was refused": {6, func(h *History) {
			h.refuse(at(-70))
			h.Aloware[phone] = "Anna"
		}},
		"too many attempts": {7, func(h *History) { h.row("stays").Attempts = 13 }},
		"an outage ends in an error": {7, func(h *History) {
			h.row("contact").Status = statusError
			h.Sightings = []Sighting{{Event: "contact-id", Phase: "Error", Text: "AttemptsExhausted"}}
		}},
		"what cannot be synced is done": {7, func(h *History) {
			h.row("invalid").Status = statusDone
			h.entry("invalid", "aloware.contact").Status = skipped
		}},
		"a refusal is tried again": {7, func(h *History) { h.Ledger = append(h.Ledger, *h.entry("invalid", "aloware.contact")) }},
		"a destination that is down is called on and on": {7, func(h *History) {
			for range 8 {
				h.Calls = append(h.Calls, Call{Destination: DestinationVerity, Key: "contact-id", SHA256: "sum of contact", Start: at(101), End: at(101)})
			}
		}},
		"an error for a refusal of another destination": {7, func(h *History) {
			h.Faults[2].Rejects, h.row("contact").Status = DestinationVerity, statusError
			h.entry("contact", operationContact).Class = permanent
		}},
		"too many live WebhookEvents": {8, func(h *History) { h.Samples[1].Live = 11 }},
		"too much memory":             {8, func(h *History) { h.Samples[1].RSS["receiver-0"] = 101 }},
		"too much in the log":         {8, func(h *History) { h.Samples[1].LogBytes["receiver-0"] = 300 }},
		"an appointment waits for Aloware": {9, func(h *History) {
			h.row("passes").ProcessedAt = at(70)
			h.Sightings = slices.DeleteFunc(h.Sightings, func(s Sighting) bool { return s.Event == "passes-id" })
		}},
		"an event waits for single ones that are stuck": {9, func(h *History) {
			h.Faults[5].Destination, h.Faults[5].Stuck = "", stuckEvents
		}},
		"nothing shows a recovery":  {10, func(h *History) { h.Faults[0].Recovered = time.Time{} }},
		"a recovery takes too long": {10, func(h *History) { h.Faults[3].Recovered = at(300) }},
		"a dead leader's event is done too late": {10, func(h *History) {
			h.row("booked").ProcessedAt = at(51)
			h.Sightings = slices.DeleteFunc(h.Sightings, func(s Sighting) bool { return s.Event == "booked-id" })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := sound()
			test.breaks(h)
			found := Check(h, someLimits)
			require.NotEmpty(t, found)
			assert.Truef(t, slices.ContainsFunc(found, func(v Violation) bool { return v.Invariant == test.invariant }), "%+v", found)
		})
	}
}

// What is broken on purpose excuses what follows from it, and nothing else.
func TestAFaultExcusesWhatItLeadsTo(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(*History){
		"an event that was refused for good, and was the newest": func(h *History) { h.refuse(at(-1)) },
		"an event that Aloware had taken when it was refused": func(h *History) {
			h.refuse(at(-1))
			h.Aloware[phone] = "Anna"
		},
		"a Done that a user wrote": func(h *History) {
			h.Faults[6].Edits = true
			h.Sightings = append(h.Sightings, Sighting{At: at(250.5), Event: "invalid-id", Phase: "Done"})
		},
		"an event that was made to wait": func(h *History) {
			h.Faults[5].Destination, h.Faults[5].Stuck = "", stuckEvents
			h.Webhooks[slices.IndexFunc(h.Webhooks, func(w Webhook) bool { return w.Key == "waits" })].Stuck = true
		},
		"a post to a receiver that has drained": func(h *History) {
			h.Faults[0].Drains, h.Faults[0].Drain = "receiver-0", 50*time.Millisecond
		},
		"a stranger whose appointment was never understood": func(h *History) {
			h.Faults[4].Rejects = DestinationVerity
			h.happen(28.1, Webhook{Key: "stranger", Phone: "+1646", Appointment: "theirs", Status: "confirmed", At: at(-1), Stranger: true})
			h.row("stranger").Status = statusError
			h.Ledger[len(h.Ledger)-2].Class = permanent
			h.Sightings[len(h.Sightings)-1].Phase = "Error"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := sound()
			happens(h)
			assert.Empty(t, Check(h, someLimits))
		})
	}
}

func TestARoundHasEachLaneOnceAndEveryKindItsTurn(t *testing.T) {
	t.Parallel()
	all := kinds()
	for _, short := range []bool{false, true} {
		seen := map[string]bool{}
		for _, round := range rounds(all, short, randomOf(1, 1)) {
			lanes := map[string]bool{}
			for _, k := range round {
				assert.Falsef(t, seen[k.name] || lanes[k.lane], "%s comes twice", k.name)
				assert.True(t, len(round) == 1 || k.lane != "", k.name)
				seen[k.name], lanes[k.lane] = true, true
			}
		}
		for _, k := range all {
			assert.Equal(t, !short || k.slow == "", seen[k.name], k.name)
		}
	}
}

func TestTheWholeHistoryOfAnEventIsReported(t *testing.T) {
	t.Parallel()
	h := sound()
	for _, id := range []string{"booked", "booked-id"} {
		report := h.Report(id)
		for _, part := range []string{
			"event booked-id, webhook booked, seed 7", "posted to receiver-0: 200 accepted", "at verity: 200", "WebhookEvent MODIFIED: Done",
			"of verity.lead: success", "fault begins: the leader is killed",
		} {
			assert.Contains(t, report, part)
		}
		assert.NotContains(t, report, "stays-id")
	}
}

func TestTheTableHasEveryFault(t *testing.T) {
	t.Parallel()
	h := sound()
	h.row("booked").Status = "pending"
	table := report(h, Check(h, someLimits))
	assert.Contains(t, table, "| the leader is killed | 1 | 1 | 0 | 1 | 3.6 s | 3.6 s |")
	assert.Contains(t, table, "| a process ended by itself | 1 | 0 | 0 | 0 | – | – |")
}
