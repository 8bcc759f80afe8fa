package receiver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// unpack returns a request's body without its content encoding: raw, or what raw decompresses to, which has the limit of a body and is
// charged to held. The answer is the zero answer unless the request is rejected.
func unpack(h http.Header, raw []byte, held *charge) ([]byte, answer) {
	switch encoding := contentEncoding(h); encoding {
	case "":
		return raw, answer{}
	case "gzip", "x-gzip":
	default:
		return nil, refuse(http.StatusUnsupportedMediaType, "malformed",
			fmt.Errorf("content encoding %.20q is not supported: send the body uncompressed or as gzip", encoding))
	}
	compressed, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "malformed", errGzip)
	}
	var buffer bytes.Buffer
	switch _, err = buffer.ReadFrom(&chargedReader{from: compressed, held: held}); {
	case errors.Is(err, errTooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "too large", err)
	case errors.Is(err, errBusy):
		return nil, later("overloaded", err)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "malformed", errGzip)
	}
	return buffer.Bytes(), answer{}
}

// errGzip has no position: the sender can only compress the body again, or send it uncompressed.
var errGzip = errors.New("body is not valid gzip, although its Content-Encoding is gzip")

// contentEncoding returns the content encoding of a body, "" for none.
func contentEncoding(h http.Header) string {
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ", ")))
	if encoding == "identity" {
		return ""
	}
	return encoding
}
