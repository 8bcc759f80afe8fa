package faults

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Limits bound a run.
type Limits struct {
	// Attempts is how many an event has.
	Attempts int
	// Outage is how many calls a destination may get while it is down, for the breaker to trip; Probe is how often one more is made.
	Outage int
	Probe  time.Duration
	// Delay is how long an event may take while others are stuck, Handover how long an event of a leader that is gone may, and Recovery how
	// long a system may take to recover.
	Delay, Handover, Recovery time.Duration
	// Live bounds the unfinished WebhookEvents, RSS the memory of a process in bytes, LogRate what it logs in a second, in bytes.
	Live         int
	RSS, LogRate int64
}

// Violation is a broken invariant.
type Violation struct {
	Invariant int
	// Event is the id, or the webhookId, of the event that it is about, "" where it is about none.
	Event, Message string
}

// checker has a history by what is looked for.
type checker struct {
	*History
	limits Limits
	// webhooks and stored are by dedupe key, rows by id.
	webhooks     map[string]*Webhook
	rows, stored map[string]*Row
	// events are the webhooks by the id of their row.
	events   map[string]*Webhook
	forwards map[string][]*Call
	ledger   map[string][]*Entry
	found    []Violation
}

// Check returns the invariants that a history breaks, in the order of their numbers.
func Check(h *History, limits Limits) []Violation {
	c := &checker{
		History: h, limits: limits, webhooks: map[string]*Webhook{}, rows: map[string]*Row{}, stored: map[string]*Row{},
		events: map[string]*Webhook{}, forwards: map[string][]*Call{}, ledger: map[string][]*Entry{},
	}
	for i := range h.Webhooks {
		c.webhooks[dedupeKey(h.Webhooks[i].Key)] = &h.Webhooks[i]
	}
	for i := range h.Rows {
		row := &h.Rows[i]
		c.rows[row.ID], c.stored[row.DedupeKey] = row, row
		if w := c.webhooks[row.DedupeKey]; w != nil {
			c.events[row.ID] = w
		}
	}
	for i := range h.Calls {
		if call := &h.Calls[i]; call.Destination == DestinationVerity {
			c.forwards[call.Key] = append(c.forwards[call.Key], call)
		}
	}
	for i := range h.Ledger {
		entry := &h.Ledger[i]
		c.ledger[entry.Event] = append(c.ledger[entry.Event], entry)
	}
	for _, check := range []func(){
		c.nothingIsLost, c.oneEffect, c.doneIsDone, c.deletionIsHarmless, c.answersAreTrue, c.newestWins, c.attemptsAreBounded,
		c.sizesAreBounded, c.othersAreNotDelayed, c.recoveryIsAutomatic,
	} {
		check()
	}
	return c.found
}

// The destinations of calls.
const (
	DestinationVerity  = "verity"
	DestinationAloware = "aloware"
	DestinationLeads   = "leads"
	DestinationGHL     = "ghl"
)

const (
	statusDone  = "done"
	statusError = "error"

	success   = "success"
	skipped   = "skipped"
	permanent = "permanent"

	operationForward = "verity.forward"
	operationLead    = "verity.lead"
	operationContact = "aloware.contact"
)

// Balancer is the receiver of posts that come through a proxy which obeys readiness.
const Balancer = "the balancer"

func (c *checker) violated(invariant int, event, format string, arguments ...any) {
	c.found = append(c.found, Violation{invariant, event, fmt.Sprintf(format, arguments...)})
}

// 1: acknowledged ⇒ eventually done, or visibly Error.
func (c *checker) nothingIsLost() {
	acknowledged := map[string]string{}
	for _, p := range c.Posts {
		if p.Status != http.StatusOK {
			continue
		}
		if p.ID == "" {
			c.violated(1, p.Webhook, "acknowledged without an id")
			continue
		}
		if first, known := acknowledged[p.Webhook]; known && first != p.ID {
			c.violated(1, p.ID, "the same webhook was acknowledged as %s before", first)
		}
		acknowledged[p.Webhook] = p.ID
		row := c.rows[p.ID]
		if row == nil {
			c.violated(1, p.Webhook, "acknowledged as %s, of which there is no row", p.ID)
			continue
		}
		if w := c.events[p.ID]; w == nil || w.Key != p.Webhook {
			c.violated(1, p.ID, "its row is not that of the webhook %s, for which it was named", p.Webhook)
		} else if row.SHA256 != w.SHA256 {
			c.violated(1, p.ID, "other bytes were stored than sent")
		}
	}
	for id, row := range c.rows {
		switch {
		case row.Status == statusError && !c.shown(row):
			c.violated(1, id, "it ended in error, and its WebhookEvent never said so with a reason")
		case row.Status != statusDone && row.Status != statusError:
			c.violated(1, id, "it is still %s", row.Status)
		}
	}
}

// shown reports whether a watch saw that the event is in error. One that was deleted after may not have been seen.
func (c *checker) shown(row *Row) bool {
	deleted := slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Deletes && f.End.After(row.ProcessedAt) })
	return deleted || slices.ContainsFunc(c.Sightings, func(s Sighting) bool {
		return s.Event == row.ID && s.Phase == "Error" && s.Text != ""
	})
}

// 2: one effect per event and destination.
func (c *checker) oneEffect() {
	for id, calls := range c.forwards {
		w := c.events[id]
		if w == nil {
			c.violated(2, id, "something was forwarded under a key that is no event's")
			continue
		}
		slices.SortFunc(calls, func(a, b *Call) int { return a.Start.Compare(b.Start) })
		for i, call := range calls {
			if call.SHA256 != w.SHA256 {
				c.violated(2, id, "other bytes were forwarded than were sent")
			}
			if i > 0 && !c.excused(calls[i-1], call) {
				c.violated(2, id, "forwarded again, though the answer %d was there and nothing kept it from its record", calls[i-1].Status)
			}
		}
	}
	successes := map[[2]string]int{}
	for _, e := range c.Ledger {
		if e.Status == success {
			successes[[2]string{e.Event, e.Operation}]++
		}
	}
	for of, n := range successes {
		if n > 1 {
			c.violated(2, of[0], "the ledger has %d successes of %s", n, of[1])
		}
	}
	stored := map[string]string{}
	for id, row := range c.rows {
		if other, twice := stored[row.DedupeKey]; twice {
			c.violated(2, id, "stored as %s too", other)
		}
		stored[row.DedupeKey] = id
	}
}

// recordTimeout is how long an attempt may take from the answer of one call to its record: the other calls have their bounds as well.
const recordTimeout = 60 * time.Second

// excused reports whether a call may be repeated: there was no answer or one that asks for it, or what was done may not be recorded.
func (c *checker) excused(call, again *Call) bool {
	if call.Status < 200 || call.Status > 299 {
		return true
	}
	until := call.End.Add(recordTimeout)
	if again.Start.Before(until) {
		until = again.Start
	}
	return slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Forgets && f.overlaps(call.Start, until) })
}

// 3: done ⇒ forwarded and synced, and recorded before the WebhookEvent says so.
func (c *checker) doneIsDone() {
	for id, row := range c.rows {
		if row.Status != statusDone {
			continue
		}
		operations := []string{operationForward}
		if w := c.events[id]; w != nil && w.Appointment != "" {
			operations = append(operations, operationLead)
		} else if w != nil && w.Phone != "" {
			operations = append(operations, operationContact)
		}
		for _, operation := range operations {
			if !slices.ContainsFunc(c.ledger[id], func(e *Entry) bool {
				return e.Operation == operation && (e.Status == success || e.Status == skipped) && !e.Finished.After(row.ProcessedAt)
			}) {
				c.violated(3, id, "done, and the ledger has no success of %s before", operation)
			}
		}
		if !slices.ContainsFunc(c.forwards[id], func(call *Call) bool {
			return call.Status >= 200 && call.Status < 300 && call.Start.Before(row.ProcessedAt)
		}) {
			c.violated(3, id, "done, and Verity has not said before that it has the webhook")
		}
	}
	for _, s := range c.Sightings {
		row := c.rows[s.Event]
		if s.Phase == "Done" && (row == nil || row.Status != statusDone || s.At.Before(row.ProcessedAt)) && !c.edited(s.At) {
			c.violated(3, s.Event, "its WebhookEvent said Done before the row did")
		}
	}
	for event, phase := range c.Shown {
		if row := c.rows[event]; row == nil || row.Status != strings.ToLower(phase) {
			c.violated(3, event, "its WebhookEvent says %s in the end, and the row does not", phase)
		}
	}
}

// edited reports whether a user may have written what was shown at a moment.
func (c *checker) edited(at time.Time) bool {
	return slices.ContainsFunc(c.Faults, func(f Fault) bool {
		return f.Edits && !at.Before(f.Begin) && !at.After(f.End.Add(deletionSlack))
	})
}

// deletionSlack is how long a step that was in progress at the time of a deletion may take.
const deletionSlack = 5 * time.Second

// 4: deleting all WebhookEvents repeats nothing. That it loses nothing is the first invariant.
func (c *checker) deletionIsHarmless() {
	for _, f := range c.Faults {
		if !f.Deletes {
			continue
		}
		finishedBefore := func(event string) bool {
			row := c.rows[event]
			return row != nil && !row.ProcessedAt.IsZero() && row.ProcessedAt.Before(f.Begin.Add(-deletionSlack))
		}
		for _, call := range c.Calls {
			if call.Destination == DestinationVerity && call.Start.After(f.Begin) && finishedBefore(call.Key) {
				c.violated(4, call.Key, "it was finished when the WebhookEvents were deleted, and forwarded after")
			}
		}
		for _, s := range c.Sightings {
			if s.Change == "ADDED" && s.At.After(f.End.Add(deletionSlack)) && finishedBefore(s.Event) {
				c.violated(4, s.Event, "it was finished when its WebhookEvent was deleted, and the WebhookEvent was created again")
			}
		}
	}
}
