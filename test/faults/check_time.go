package faults

import (
	"net/http"
	"slices"
	"time"
)

// 5: not committed ⇒ 429.
func (c *checker) answersAreTrue() {
	for _, p := range c.Posts {
		switch p.Status {
		case http.StatusOK:
			if row := c.rows[p.ID]; row != nil && row.ReceivedAt.After(p.End) {
				c.violated(5, p.ID, "acknowledged before it was stored")
			}
		case http.StatusTooManyRequests:
			if p.RetryAfter == "" {
				c.violated(5, p.Webhook, "refused without saying when to try again")
			}
		case 0:
			if !slices.ContainsFunc(c.Faults, func(f Fault) bool { return f.Refuses && f.overlaps(p.Start, p.End) && !f.drains(&p) }) {
				c.violated(5, p.Webhook, "%s did not answer, though it had to: %s", p.Receiver, p.Err)
			}
		default:
			c.violated(5, p.Webhook, "answered %d", p.Status)
		}
		if p.Receiver == Balancer && p.Status != http.StatusOK {
			c.violated(5, p.Webhook, "answered %d %s through a proxy that obeys readiness", p.Status, p.Err)
		}
	}
}

// drains reports whether the receiver was still to take the post.
func (f *Fault) drains(p *Post) bool {
	return f.Drains == p.Receiver && p.Start.Before(f.Begin.Add(f.Drain))
}

// 9: a stuck event or destination does not delay others.
func (c *checker) othersAreNotDelayed() {
	acknowledged := map[string]time.Time{}
	for _, p := range c.Posts {
		if first, known := acknowledged[p.ID]; p.Status == http.StatusOK && (!known || p.End.Before(first)) {
			acknowledged[p.ID] = p.End
		}
	}
	for _, f := range c.Faults {
		if f.Stuck == "" {
			continue
		}
		for id, at := range acknowledged {
			w, row := c.events[id], c.rows[id]
			if w == nil || row == nil || w.Stuck || at.Before(f.Begin) || at.After(f.End) || c.troubled(w, at, &f) {
				continue
			}
			if took := row.ProcessedAt.Sub(at); took > c.limits.Delay {
				c.violated(9, id, "it took %s while others were stuck (%s), and has nothing to do with that", took, f.Kind)
			}
		}
	}
}

// troubled reports whether something of what a webhook needs was broken about a moment, be it by another fault than the one.
func (c *checker) troubled(w *Webhook, at time.Time, one *Fault) bool {
	return w.needs(one.Stuck) || slices.ContainsFunc(c.Faults, func(f Fault) bool {
		if f.Kind == one.Kind && f.Begin.Equal(one.Begin) || !f.overlaps(at, at.Add(c.limits.Delay)) {
			return false
		}
		broken := f.Destination
		if broken == "" {
			broken = f.Stuck
		}
		return broken == "" || w.needs(broken)
	})
}

// 10: recovery needs no person.
func (c *checker) recoveryIsAutomatic() {
	for _, f := range c.Faults {
		switch took := f.Recovered.Sub(f.End); {
		case f.Aftermath || f.Unprobed:
		case f.Recovered.IsZero():
			c.violated(10, "", "nothing shows that the system recovered from this: %s", f.Kind)
		case took > c.limits.Recovery:
			c.violated(10, "", "the system took %s to recover from this: %s", took, f.Kind)
		}
		for _, id := range f.Owed {
			row := c.rows[id]
			if row == nil || row.ProcessedAt.IsZero() || row.ProcessedAt.Sub(f.OwedFrom) > c.limits.Handover {
				c.violated(10, id, "it was in progress, and not done within %s: %s", c.limits.Handover, f.Kind)
			}
		}
	}
}
