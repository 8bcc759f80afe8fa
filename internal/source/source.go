// Package source lists the sources of webhooks, for what reads stored events: operations, erasures, migrations and commands ask the
// event's source what its payload says. What a source does while it receives is the receiver's Source.
package source

import (
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// Reader reads the stored events of one source. A payload is the JSON object that was stored.
type Reader interface {
	// Normalise returns the event of a payload.
	Normalise(payload []byte, receivedAt time.Time) (event.Event, error)
	// Content returns what a payload says beside e, its event.
	Content(payload []byte, e event.Event, receivedAt time.Time) (event.Content, error)
	// Fault says why a body cannot be parsed and in which line, without any of its content; "" if it can be parsed.
	Fault(contentType string, body []byte) string
	// Explain says what a request becomes, and which rule decided each field. Only the sender of a trusted request may declare a type.
	Explain(r event.Request, receivedAt time.Time) (event.Explanation, error)
	// TypeOf returns the normalised type for the source's spelling of it, and whether the type is known.
	TypeOf(spelling string) (typ string, known bool)
}

var readers = map[string]Reader{
	event.SourceGHL: ghl.Reader{},
}

// Of returns the reader of a source. Rows that the legacy middleware stored under another name hold GoHighLevel's webhooks, too.
func Of(name string) Reader {
	if reader, ok := readers[name]; ok {
		return reader
	}
	return readers[event.SourceGHL]
}

// TypeOf returns the normalised type for any source's spelling of it, and spelling itself if no source knows it.
func TypeOf(spelling string) string {
	for _, name := range event.Sources {
		if typ, known := readers[name].TypeOf(spelling); known {
			return typ
		}
	}
	return spelling
}
