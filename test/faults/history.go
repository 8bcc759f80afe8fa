// Package faults runs the whole of verity-sync as real processes under a load of webhooks while things break, and checks what came of it by
// a program: History is what was seen from outside, Check says which of the promises it breaks. docs/reliability.md has the invariants.
//
// The checker is pure, so that it can be tested with histories that never happened.
package faults

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// History is all that was seen of a run, from outside.
type History struct {
	Seed      uint64
	Webhooks  []Webhook
	Posts     []Post
	Calls     []Call
	Faults    []Fault
	Sightings []Sighting
	Samples   []Sample
	// What the databases and Aloware hold in the end.
	Rows    []Row
	Ledger  []Entry
	Leads   []Lead
	Aloware map[string]string // first names by phone number
	Shown   map[string]string // phases of the WebhookEvents that are still there, by event
}

// Webhook is what GHL has to say once, however often it says it.
type Webhook struct {
	// Key is its webhookId.
	Key, Type, SHA256 string
	// Phone is that of the contact whom it is about, "" where nothing is synced.
	Phone string
	// Appointment and Status are empty where it is about a contact; Status is "deleted" for a deletion.
	Appointment, Status string
	// FirstName tells the state of a contact.
	FirstName string
	// At is when it happened at GHL.
	At time.Time
	// Invalid says that its sync must be refused for good.
	Invalid bool
	// Stranger says that only GHL knows the contact of the appointment.
	Stranger bool
	// Stuck says that it was made to wait.
	Stuck bool
}

// needs reports whether the webhook cannot be done without a destination.
func (w *Webhook) needs(destination string) bool {
	switch destination {
	case DestinationVerity:
		return true
	case DestinationLeads:
		return w.Appointment != ""
	case DestinationGHL:
		return w.Stranger
	case DestinationAloware:
		return w.Appointment == "" && w.Phone != ""
	default:
		return false
	}
}

// Post is one request of GHL's, and the answer.
type Post struct {
	Webhook, Receiver string
	Start, End        time.Time
	// Status is 0 where there was no answer, and Err says why.
	Status      int
	Err         string
	ID, Outcome string
	RetryAfter  string
}

// Call is a request that a destination received.
type Call struct {
	Destination, Method, Path string
	Start, End                time.Time
	// Key is the idempotency key, SHA256 the hash of the body.
	Key, SHA256 string
	// Status is 0 where the answer was lost.
	Status int
}

// Row is an event in webhook_events.
type Row struct {
	ID, DedupeKey, Status, Reason, SHA256 string
	Attempts                              int
	ReceivedAt                            time.Time
	ProcessedAt                           time.Time
}

// Entry is a row of sync_log.
type Entry struct {
	Event, Operation, Status, Class, Message string
	Attempt                                  int
	Finished                                 time.Time
}

// Lead is a row of Verity's leads, with the phone number of its contact.
type Lead struct{ Phone, Appointment string }

// Sighting is what a watch showed of a WebhookEvent.
type Sighting struct {
	At                         time.Time
	Event, Change, Phase, Text string
}

// Sample is what the processes took at a moment.
type Sample struct {
	At time.Time
	// Live are the WebhookEvents that are not finished.
	Live int
	// RSS and LogBytes are those of the processes, by name; LogBytes is the total of all of its starts.
	RSS, LogBytes map[string]int64
}

// Fault is something that was broken on purpose, or a process that ended by itself.
type Fault struct {
	Kind       string
	Begin, End time.Time
	// Recovered is when events that were posted after End were shown as Done.
	Recovered time.Time
	// Refuses says that a receiver may not answer, Forgets that what a controller has done may not be recorded.
	Refuses, Forgets bool
	// Destination is what cannot be reached meanwhile, and Breakers how many breakers stand before it, where that is more than one.
	Destination string
	Breakers    int
	// Rejects is the destination that refuses events for good meanwhile.
	Rejects string
	// Stuck is the destination that does not answer meanwhile, or "an event" where only single ones are made to wait. Nothing else may be
	// delayed.
	Stuck string
	// Drains is the receiver that was stopped by SIGTERM, and Drain how long it has to accept deliveries after that.
	Drains string
	Drain  time.Duration
	// Owed are the events that were in progress when a leader ended, which another one has to finish in time: from OwedFrom on, which is
	// when it ended, or when its pause ended, after which it may have renewed its lease.
	Owed     []string
	OwedFrom time.Time
	// Aftermath says that it only follows from another one, Unprobed that the test did not wait for its end.
	Aftermath, Unprobed bool
	// Deletes says that all WebhookEvents were deleted, Edits that a user wrote their status.
	Deletes, Edits bool
}

// stuckEvents is what is stuck where it is no destination.
const stuckEvents = "an event"

// overlaps reports whether the fault, or its aftermath, overlaps the time between the two.
func (f *Fault) overlaps(from, to time.Time) bool {
	end := f.End
	if f.Recovered.After(end) {
		end = f.Recovered
	}
	return !f.Begin.After(to) && (end.IsZero() || !end.Before(from))
}

// line is one thing that happened.
type line struct {
	at   time.Time
	text string
}

// Report returns all that is known of an event or a webhook, by its id or its webhookId, in the order in which it happened.
func (h *History) Report(id string) string {
	key := ""
	for _, w := range h.Webhooks {
		for _, r := range h.Rows {
			if r.DedupeKey == dedupeKey(w.Key) && (r.ID == id || w.Key == id) {
				id, key = r.ID, w.Key
			}
		}
	}
	var lines []line
	add := func(at time.Time, format string, arguments ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, arguments...)})
	}
	for _, p := range h.Posts {
		if p.Webhook == key || p.ID == id {
			add(p.Start, "posted to %s: %d %s %s after %s %s", p.Receiver, p.Status, p.Outcome, p.ID, p.End.Sub(p.Start), p.Err)
		}
	}
	for _, c := range h.Calls {
		if c.Key == id {
			add(c.Start, "%s %s at %s: %d after %s", c.Method, c.Path, c.Destination, c.Status, c.End.Sub(c.Start))
		}
	}
	for _, s := range h.Sightings {
		if s.Event == id {
			add(s.At, "WebhookEvent %s: %s %s", s.Change, s.Phase, s.Text)
		}
	}
	for _, e := range h.Ledger {
		if e.Event == id {
			add(e.Finished, "ledger: attempt %d of %s: %s %s %s", e.Attempt, e.Operation, e.Status, e.Class, e.Message)
		}
	}
	for _, r := range h.Rows {
		if r.ID == id {
			add(cmp.Or(r.ProcessedAt, r.ReceivedAt), "row, in the end: %+v", r)
		}
	}
	inTime := func(a, b line) int { return a.at.Compare(b.at) }
	slices.SortStableFunc(lines, inTime)
	if len(lines) > 0 {
		from, to := lines[0].at.Add(-time.Minute), lines[len(lines)-1].at.Add(time.Minute)
		for _, f := range h.Faults {
			if f.overlaps(from, to) {
				add(f.Begin, "fault begins: %s", f.Kind)
				add(f.End, "fault ends: %s", f.Kind)
			}
		}
		slices.SortStableFunc(lines, inTime)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "event %s, webhook %s, seed %d\n", id, key, h.Seed)
	for _, l := range lines {
		fmt.Fprintf(&text, "  %s %s\n", l.at.UTC().Format("15:04:05.000"), l.text)
	}
	return text.String()
}

func dedupeKey(webhookID string) string { return "ghl:" + webhookID }
