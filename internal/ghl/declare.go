package ghl

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// The query parameters and headers with which a request declares what its body is.
const (
	QueryType     = "type"
	QueryIDPath   = "id"
	HeaderType    = "X-Webhook-Type"
	HeaderIDPath  = "X-Webhook-Id-Path"
	headerGHLType = "X-GHL-Event-Type"
)

// ErrDeclaration says that the declaration contradicts the body. HTTP 400; the sender may see its text.
var ErrDeclaration = errors.New("the declared id is not the entity's own")

// Declaration is what a sender declares about a body whose shape no rule knows.
type Declaration struct {
	// Type is the event's type, in any spelling.
	Type string
	// IDPath is the path of the entity's id: the names of members, with dots between them.
	IDPath string
}

// DeclarationOf returns the declaration of a request, the zero value if there is none. Only a request with a secret may declare anything.
func DeclarationOf(h http.Header, query url.Values) Declaration {
	d := Declaration{Type: cleanText(query.Get(QueryType)), IDPath: cleanText(query.Get(QueryIDPath))}
	for _, name := range [...]string{HeaderType, headerGHLType} {
		if d.Type == "" {
			d.Type = cleanText(h.Get(name))
		}
	}
	if d.IDPath == "" {
		d.IDPath = cleanText(h.Get(HeaderIDPath))
	}
	if _, known := knownDeclaration(d.Type); !known {
		return Declaration{} // An unknown type.
	}
	return d
}

func knownDeclaration(typ string) (name, bool) {
	n := classify(typ)
	return n, n.known && !n.loose
}

// declared is a declaration as it applies to a body.
type declared struct {
	name name
	id   string
}

// Declare returns the body with its sender's declaration. Normalise uses the declaration only if the body has no known shape. The error is
// ErrDeclaration, with a reason.
func (b Body) Declare(d Declaration) (Body, error) {
	n, known := knownDeclaration(d.Type)
	if !known {
		return b, nil
	}
	if n.entity == "location" || n.entity == "app" {
		return b, fmt.Errorf("%w: a request cannot declare a location or an app", ErrDeclaration)
	}
	path := strings.Split(d.IDPath, ".")
	if owner := ownerOf(path); d.IDPath != "" && owner != "" && owner != n.entity {
		return b, fmt.Errorf("%w: %.60q is the path of a %s's id, and the type is a %s's", ErrDeclaration, d.IDPath, owner, n.entity)
	}
	b.declared = &declared{name: n, id: idAlong(b.Payload, path)}
	_, r := read(&b, time.Now())
	if id := b.declared.id; r.name.declared && id != "" && n.entity != event.EntityContact {
		contact, _ := firstOfRules(r, contactIDRules)
		location, _ := firstOfRules(r, locationIDRules)
		if id == contact || id == location || r.unlessForeign(id) == "" {
			return b, fmt.Errorf("%w: in the body, it is the id of a contact, calendar, pipeline or location", ErrDeclaration)
		}
	}
	return b, nil
}

// owners are what bodies have ids of: the entities and others.
var owners = slices.Concat(entities, []string{
	"calendar", "pipeline", "pipeline_stage", "stage", "company", "workflow", "form", "survey", "webhook", "version",
})

// ownerOf returns whose id is at a path, by the words of the path: contact.id, contactId and contact_id are a contact's. It returns "" if
// the words do not say.
func ownerOf(path []string) string {
	last := string(bare(path[len(path)-1]))
	if last == "id" && len(path) > 1 {
		last = string(bare(path[len(path)-2])) + "id"
	}
	for _, owner := range owners {
		if last == string(bare(owner))+"id" {
			return owner
		}
	}
	return ""
}

// idAlong returns the id at the end of a path through the objects of text, "" if there is none.
func idAlong(text []byte, path []string) string {
	for _, name := range path {
		if len(text) == 0 || firstByte(text) != '{' {
			return ""
		}
		var next []byte
		eachMember(text, func(key, value []byte) {
			if strings.TrimSpace(string(key)) == name {
				next = value
			}
		})
		text = next
	}
	return object{{name: "id", value: text}}.id("id")
}

// declaredType uses the declaration. Nearly every body has a contact's id: if it has nothing else, the declared path must lead to an id.
func (r *reading) declaredType() (name, bool) {
	if r.declared == nil {
		return name{}, false
	}
	if _, contact := r.contactAlone(); contact && r.declared.id == "" {
		return name{}, false
	}
	n := r.declared.name
	n.declared = true
	return r.complete(n)
}

func (r *reading) declaredID(entity string) string {
	if !r.name.declared || r.name.entity != entity {
		return ""
	}
	return r.declared.id
}
