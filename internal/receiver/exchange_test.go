package receiver_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
)

// exchange is a request and the expected answer.
type exchange struct {
	// given changes the receiver's configuration.
	given func(*environment)

	// method defaults to POST, and target to the path of GoHighLevel's webhooks.
	method, target string
	header         http.Header
	body           string
	// signed adds the signature of the body.
	signed bool
	// encoding is the Content-Encoding of a signed one.
	encoding string

	code int
	// counts names a counter that goes up by one.
	counts string
	// answer is the body, with the id replaced.
	answer  string
	answers map[string]string
	stored  int
}

// testExchanges tries each exchange, completed with what they have in common, on its own receiver.
func testExchanges(t *testing.T, exchanges map[string]exchange, complete func(*exchange)) {
	t.Helper()
	for name, x := range exchanges {
		complete(&x)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			if x.signed {
				x.header = f.sign(x.body)
				if x.encoding != "" {
					x.header = with(x.header, "Content-Encoding", x.encoding)
				}
			}
			if x.given != nil {
				x.given(f)
			}
			if f.signature != "" && x.header == nil {
				x.header = asJSON
			}
			if f.signature != "" {
				x.header = with(x.header, "X-GHL-Signature", f.signature)
			}
			method, target := cmp.Or(x.method, http.MethodPost), cmp.Or(x.target, ghl.Path)
			got := send(t, f.serve(t), requestText(method, target, x.header, x.body))

			assert.Equal(t, x.code, got.code)
			assert.Equal(t, x.answer, anonymous(got.body))
			assert.Equal(t, "application/json", got.header.Get("Content-Type"))
			for name, value := range x.answers {
				assert.Equal(t, value, got.header.Get(name), name)
			}
			assert.Len(t, f.recorder.stored(), x.stored)
			if x.counts != "" {
				assert.Equal(t, 1, f.counted(t, x.counts, ""))
			}
			woken := 0
			if x.code == http.StatusOK && strings.HasPrefix(target, receiver.JobsPath) {
				woken = 1
			}
			assert.Equal(t, woken, f.jobs.wakes())
			if path, _, _ := strings.Cut(target, "?"); strings.TrimSuffix(path, "/") == ghl.Path {
				assert.Equal(t, 1, f.counted(t, "verity_sync_webhook_requests_total", strconv.Itoa(x.code)))
			}
		})
	}
}

// gzipped returns the gzip of a text.
func gzipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.String()
}
