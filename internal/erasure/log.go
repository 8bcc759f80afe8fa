package erasure

import (
	"bytes"
	"context"
	"slices"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// log searches the log of the legacy middleware.
func (s *search) log(ctx context.Context, p *Plan) error {
	p.logIDs = append([]string{}, s.aloware...)
	contact := ""
	if s.known {
		contact = s.person.ContactID
		p.logIDs = append(p.logIDs, contact)
	}
	events := map[string]bool{}
	for _, e := range p.Events {
		events[e.ID.String()] = true
	}
	return s.db.ScanUnlinkedLog(ctx, func(e store.LogEntry) {
		ids := []string{e.EntityID, e.SourceID, e.TargetID, e.CorrelationID}
		var c content
		c.text(e.Message, true)
		c.json(e.Details)
		texts := append(c.texts, ids...)
		about := ""
		if e.EntityType == event.EntityContact && !IsNoID(e.EntityID) && !slices.Contains(p.logIDs, e.EntityID) {
			about = e.EntityID
		}
		by := slices.ContainsFunc(ids, func(id string) bool {
			// An id of Aloware is a number, which can be the id of something else, too.
			aloware := e.EntityType == event.EntityContact && about == "" && slices.Contains(s.aloware, id)
			return id != "" && (id == contact || events[id] || aloware)
		})
		mentioned := s.markedIn(texts)
		unmistakable := about == "" && !s.hasOthers(c) && slices.ContainsFunc(mentioned, func(m *mark) bool { return !m.shared })
		switch {
		case !by && len(mentioned) == 0:
			return
		case s.foreignIDs[about], !by && !unmistakable:
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
			return // There is nothing to remove.
		}
		p.Log = append(p.Log, e.ID)
	})
}
