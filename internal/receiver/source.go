package receiver

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Source is a system that sends webhooks. The receiver reads, bounds, stores and answers requests; a source knows what is in them. It is
// safe for concurrent use.
type Source interface {
	// Name is one of event.Sources: the event's source, and a label of metrics.
	Name() string
	// Path is the exact URL path of the source's webhooks, without a slash at its end.
	Path() string
	// Authenticate checks who sent a request, before anything of its body is decompressed or decoded. An error is an *event.Refusal. The
	// event.Sender that it returns decodes and normalises the body.
	Authenticate(r event.Request) (event.Sender, error)
}

// sourcesByPath returns the sources by their paths, and an error if a path cannot be served.
func sourcesByPath(sources []Source) (map[string]Source, error) {
	taken := map[string]bool{JobsPath: true, LivePath: true, ReadyPath: true}
	byPath := make(map[string]Source, len(sources))
	for _, source := range sources {
		path := source.Path()
		switch {
		case source.Name() == "":
			return nil, fmt.Errorf("set up the receiver: the source at %q has no name", path)
		case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/"):
			return nil, fmt.Errorf("set up the receiver: expected the path of %s to start with a slash and to end without one, got %q",
				source.Name(), path)
		case taken[path]:
			return nil, fmt.Errorf("set up the receiver: the path of %s, %q, is taken", source.Name(), path)
		}
		taken[path], byPath[path] = true, source
	}
	return byPath, nil
}

// refusalOf returns the answer to a request that its source refuses. Any other error is not the sender's fault.
func (s *Server) refusalOf(err error) answer {
	refusal, ok := errors.AsType[*event.Refusal](err)
	if !ok {
		return later("not decoded", err)
	}
	switch refusal.Class {
	case event.Unauthenticated:
		return refuse(http.StatusUnauthorized, "unauthenticated", refusal.Err)
	case event.Forbidden:
		return refuse(http.StatusForbidden, "forbidden", refusal.Err)
	case event.Ignored:
		s.cfg.Metrics.Ignored()
		return answer{code: http.StatusOK, body: status{Status: "ignored"}, outcome: "ignored"}
	case event.TooLarge:
		return refuse(http.StatusRequestEntityTooLarge, "too large", refusal.Err)
	default:
		return refuse(http.StatusBadRequest, "malformed", refusal.Err)
	}
}

// isUnparseable reports whether a source wants the body stored though it cannot be decoded.
func isUnparseable(err error) bool {
	refusal, ok := errors.AsType[*event.Refusal](err)
	return ok && refusal.Class == event.Unparseable
}
