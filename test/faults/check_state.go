package faults

import (
	"maps"
	"slices"
	"time"
)

// 6: an older event never overwrites a newer one.
func (c *checker) newestWins() {
	c.leadsFollow()
	newest := map[string]*Webhook{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		if w.FirstName == "" || c.endedInError(w) {
			continue
		}
		if other := newest[w.Phone]; other == nil || w.At.After(other.At) {
			newest[w.Phone] = w
		}
	}
	for phone, w := range newest {
		if have := c.Aloware[phone]; have != w.FirstName && !c.halfDone(w, have) {
			c.violated(6, w.Key, "Aloware has %q, and the newest is %q", have, w.FirstName)
		}
	}
}

// endedInError reports whether a webhook's event ended in an error. Then no destination needs to have it.
func (c *checker) endedInError(w *Webhook) bool {
	row := c.stored[dedupeKey(w.Key)]
	return row != nil && row.Status == statusError
}

// halfDone reports whether a webhook of the same contact, newer than done, has given it this name and ended in an error all the same:
// Verity refused it, or Aloware took it and then refused to say which contact that is.
func (c *checker) halfDone(done *Webhook, name string) bool {
	return slices.ContainsFunc(c.Webhooks, func(w Webhook) bool {
		return w.Phone == done.Phone && w.FirstName == name && w.At.After(done.At) && c.endedInError(&w)
	})
}

// appointment is what all webhooks together say of one.
type appointment struct {
	id            string
	first, newest time.Time
	status        string
}

// leadsFollow compares the leads with the contact's live appointment that was booked last. Deletions and cancellations end one.
func (c *checker) leadsFollow() {
	contacts := map[string]map[string]*appointment{}
	for _, w := range c.Webhooks {
		if w.Appointment == "" || w.Invalid || w.Stranger && c.endedInError(&w) {
			continue
		}
		if contacts[w.Phone] == nil {
			contacts[w.Phone] = map[string]*appointment{}
		}
		a := contacts[w.Phone][w.Appointment]
		if a == nil {
			a = &appointment{id: w.Appointment, first: w.At}
			contacts[w.Phone][w.Appointment] = a
		}
		if w.At.Before(a.first) {
			a.first = w.At
		}
		if !w.At.Before(a.newest) {
			a.newest, a.status = w.At, w.Status
		}
	}
	leads := map[string][]string{}
	for _, l := range c.Leads {
		leads[l.Phone] = append(leads[l.Phone], l.Appointment)
	}
	for phone, appointments := range contacts {
		want := liveOf(appointments)
		have := leads[phone]
		if len(have) > 1 {
			c.violated(6, "", "the contact %s has %d leads", phone, len(have))
		}
		if have := append(have, "")[0]; have != want {
			c.violated(6, c.lastAbout(have, want), "the lead of %s points at %q instead of %q", phone, have, want)
		}
	}
}

func liveOf(appointments map[string]*appointment) string {
	live := slices.DeleteFunc(slices.Collect(maps.Values(appointments)), func(a *appointment) bool {
		return a.status == "deleted" || a.status == "cancelled"
	})
	if len(live) == 0 {
		return ""
	}
	return slices.MaxFunc(live, func(a, b *appointment) int { return a.first.Compare(b.first) }).id
}

// lastAbout returns the newest webhook about one of the appointments.
func (c *checker) lastAbout(appointments ...string) (key string) {
	var newest time.Time
	for _, w := range c.Webhooks {
		if w.Appointment != "" && slices.Contains(appointments, w.Appointment) && w.At.After(newest) {
			key, newest = w.Key, w.At
		}
	}
	return key
}

// 7: attempts are bounded, permanent errors are not retried, and an outage spends no more than it takes to trip the breaker.
func (c *checker) attemptsAreBounded() {
	for id, row := range c.rows {
		w := c.events[id]
		if row.Attempts > c.limits.Attempts {
			c.violated(7, id, "it took %d attempts of %d", row.Attempts, c.limits.Attempts)
		}
		switch invalid := w != nil && w.Invalid; {
		case row.Status == statusError && !invalid && !c.rejected(id):
			c.violated(7, id, "an outage led to its error: %s", row.Reason)
		case row.Status == statusDone && invalid:
			c.violated(7, id, "it cannot be synced, and is done")
		}
		refused := map[string]int{}
		for _, e := range c.ledger[id] {
			if e.Class == permanent {
				refused[e.Operation]++
			}
		}
		for operation, n := range refused {
			if n > 1 {
				c.violated(7, id, "%s was refused for good, and tried %d times", operation, n)
			}
		}
	}
	for _, f := range c.Faults {
		if f.Destination == "" {
			continue
		}
		calls := 0
		for _, call := range c.Calls {
			if call.Destination == f.Destination && call.Start.After(f.Begin) && call.Start.Before(f.End) {
				calls++
			}
		}
		if most := max(1, f.Breakers) * (c.limits.Outage + 1 + int(f.End.Sub(f.Begin)/c.limits.Probe)); calls > most {
			c.violated(7, "", "%s was called %d times while it was down (%s), and %d should do", f.Destination, calls, f.Kind, most)
		}
	}
}

// rejected reports whether a destination refused the event for good while it did that to all.
func (c *checker) rejected(event string) bool {
	return slices.ContainsFunc(c.ledger[event], func(e *Entry) bool {
		destination := map[string]string{operationForward: DestinationVerity, operationContact: DestinationAloware}[e.Operation]
		return e.Class == permanent && slices.ContainsFunc(c.Faults, func(f Fault) bool {
			return f.Rejects == destination && f.overlaps(e.Finished, e.Finished)
		})
	})
}

// 8: live WebhookEvents, memory and log rate stay bounded.
func (c *checker) sizesAreBounded() {
	live, rss, first := 0, map[string]int64{}, map[string]int64{}
	for _, s := range c.Samples {
		live = max(live, s.Live)
		for process, bytes := range s.RSS {
			rss[process] = max(rss[process], bytes)
		}
		for process, bytes := range s.LogBytes {
			if _, known := first[process]; !known {
				first[process] = bytes
			}
		}
	}
	if live > c.limits.Live {
		c.violated(8, "", "%d WebhookEvents were live, and %d may be", live, c.limits.Live)
	}
	for process, bytes := range rss {
		if bytes > c.limits.RSS {
			c.violated(8, "", "%s took %d bytes of memory, and %d may be", process, bytes, c.limits.RSS)
		}
	}
	if len(c.Samples) == 0 {
		return
	}
	last := c.Samples[len(c.Samples)-1]
	seconds := max(1, int64(last.At.Sub(c.Samples[0].At).Seconds()))
	for process, bytes := range last.LogBytes {
		if rate := (bytes - first[process]) / seconds; rate > c.limits.LogRate {
			c.violated(8, "", "%s logged %d bytes a second, and %d may be", process, rate, c.limits.LogRate)
		}
	}
}
