package receiver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// decodeBody returns the bytes that a request's body holds: raw, or what raw is the gzip of, which has the limit and the budget of a body.
// The memory is given back by release. ok is false where the answer is to be given at once.
func (s *Server) decodeBody(h http.Header, raw []byte) (text []byte, release func(), a answer, ok bool) {
	nothing := func() {}
	switch encoding := contentEncoding(h); encoding {
	case "":
		return raw, nothing, answer{}, true
	case "gzip", "x-gzip":
	default:
		return nil, nothing, refuse(http.StatusUnsupportedMediaType, "malformed",
			fmt.Errorf("content encoding %.20q is not supported: send the body as it is, or gzip", encoding)), false
	}
	compressed, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, nothing, refuse(http.StatusBadRequest, "malformed", errGzip), false
	}
	body := &chargedReader{from: compressed, budget: s.bodies}
	var buffer bytes.Buffer
	switch _, err = buffer.ReadFrom(body); {
	case errors.Is(err, errTooLarge):
		return nil, body.release, refuse(http.StatusRequestEntityTooLarge, "too large", err), false
	case errors.Is(err, errBusy):
		return nil, body.release, later("overloaded", err), false
	case err != nil:
		return nil, body.release, refuse(http.StatusBadRequest, "malformed", errGzip), false
	}
	return buffer.Bytes(), body.release, answer{}, true
}

// errGzip does not say where it is broken: the sender compresses it again, or not at all.
var errGzip = errors.New("body is not valid gzip, as its Content-Encoding says")

// contentEncoding returns how a body is encoded, "" where it is not.
func contentEncoding(h http.Header) string {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ", ")))
	if encoding == "identity" {
		return ""
	}
	return encoding
}
