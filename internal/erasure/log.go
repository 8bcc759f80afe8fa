package erasure

import (
	"bytes"
	"context"
	"slices"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// log looks at the log of the legacy middleware.
func (s *search) log(ctx context.Context, p *Plan) error {
	p.logIDs = append([]string{}, s.aloware...)
	if s.person.ContactID != "" {
		p.logIDs = append(p.logIDs, s.person.ContactID)
	}
	events := map[string]bool{}
	for _, e := range p.Events {
		events[e.ID.String()] = true
	}
	return s.db.ScanUnlinkedLog(ctx, func(e store.LogEntry) {
		ids := []string{e.EntityID, e.SourceID, e.TargetID, e.CorrelationID}
		var c content
		c.text(e.Message)
		c.json(e.Details)
		texts := append(c.texts, ids...)
		by := slices.ContainsFunc(ids, func(id string) bool {
			// An id of Aloware is a number, which is something else's too.
			aloware := e.EntityType == event.EntityContact && slices.Contains(s.aloware, id)
			return id != "" && (id == s.person.ContactID || events[id] || aloware)
		})
		mentioned := slices.DeleteFunc(s.markedIn(texts), func(m *mark) bool { return m.shared && !m.given })
		other := e.EntityType == event.EntityContact && e.EntityID != "" && !slices.Contains(p.logIDs, e.EntityID)
		switch {
		case by:
		case len(mentioned) == 0:
			return
		case other:
			p.Left.OtherLog++
			return
		}
		for _, id := range ids {
			if slices.ContainsFunc(mentioned, func(m *mark) bool { return m.in([]string{id}) }) {
				p.logIDs = append(p.logIDs, id)
			}
		}
		if bytes.Equal(bytes.TrimSpace(e.Details), []byte("{}")) && e.Message == "" && !slices.ContainsFunc(ids, func(id string) bool {
			return id != "" && slices.Contains(p.logIDs, id)
		}) {
			return // Nothing is left to remove.
		}
		p.Log = append(p.Log, e.ID)
	})
}
