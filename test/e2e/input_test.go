package e2e

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// input is a request to a receiver, and what must come of it.
type input struct {
	// method is POST and path that of the webhooks, where they are not set.
	method, path string
	header       http.Header
	body         string
	// signed adds a signature of the body.
	signed bool

	code   int
	answer string
}

const (
	accepted    = `{"id":"<id>","status":"accepted"}`
	unparseable = `{"id":"<id>","status":"unparseable"}`
)

var anID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// inputs are all kinds of requests. Each body is different, so that none is a duplicate by accident.
func inputs(s *system.System) map[string]input {
	const (
		unauthenticated = `{"error":"no valid signature or secret"}`
		tooLarge        = `{"error":"body is larger than 1048576 bytes"}`
		notFound        = `{"error":"not found"}`
		notAllowed      = `{"error":"method not allowed"}`
	)
	marketplace := func(contact, app, location string) string {
		return `{"type":"ContactUpdate","webhookId":"` + contact + `","id":"` + contact + `","appId":"` + app + `","locationId":"` + location + `"}`
	}
	workflow := func(contact string) string { return `{"contact_id":"` + contact + `"}` }
	filled := func(size int) string { return `{"a":"` + strings.Repeat("x", size-8) + `"}` }
	deep := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels) }
	app, location := s.Sender.AppID, s.Sender.LocationID
	secret := http.Header{"X-Webhook-Secret": {s.Sender.Secret}}
	with := func(name, value string) http.Header {
		h := secret.Clone()
		h.Set(name, value)
		return h
	}
	return map[string]input{
		"signed":                            {signed: true, body: marketplace("c1", app, location), code: 200, answer: accepted},
		"signed, with a slash at the end":   {signed: true, path: "/api/webhooks/ghl/", body: marketplace("c2", app, location), code: 200, answer: accepted},
		"with the secret in a header":       {header: secret, body: workflow("c3"), code: 200, answer: accepted},
		"with the secret as a bearer token": {header: http.Header{"Authorization": {"Bearer " + s.Sender.Secret}}, body: workflow("c4"), code: 200, answer: accepted},
		"with the secret in the query":      {path: "/api/webhooks/ghl?token=" + url.QueryEscape(s.Sender.Secret), body: workflow("c5"), code: 200, answer: accepted},
		"with a signature that is N/A":      {header: with("X-GHL-Signature", "N/A"), body: workflow("c6"), code: 200, answer: accepted},
		"a form":                            {header: with("Content-Type", "application/x-www-form-urlencoded"), body: "contact_id=c7&phone=", code: 200, answer: accepted},
		"an object that says nothing":       {header: secret, body: "{}", code: 200, answer: accepted},
		"a byte-order mark":                 {header: secret, body: "\ufeff" + workflow("c8"), code: 200, answer: accepted},
		"a NUL that is escaped":             {header: secret, body: `{"contact_id":"c9","note":"\u0000"}`, code: 200, answer: accepted},
		"keys that come twice":              {header: secret, body: `{"contact_id":1,"contact_id":["c10"]}`, code: 200, answer: accepted},
		"a thousand levels":                 {header: secret, body: deep(1000), code: 200, answer: accepted},
		"a body of just 1 MiB":              {header: secret, body: filled(1 << 20), code: 200, answer: accepted},

		"another location": {signed: true, body: marketplace("c11", app, "elsewhere"), code: 200, answer: `{"status":"ignored"}`},

		"neither signature nor secret":      {body: workflow("c12"), code: 401, answer: unauthenticated},
		"a wrong secret":                    {header: http.Header{"X-Webhook-Secret": {"guess"}}, body: workflow("c13"), code: 401, answer: unauthenticated},
		"a wrong signature beside a secret": {header: with("X-GHL-Signature", s.Sender.Sign([]byte("{}"))), body: workflow("c14"), code: 401, answer: unauthenticated},
		"another app": {
			signed: true, body: marketplace("c15", "another", location), code: 403, answer: `{"error":"not signed for an app that is allowed here"}`,
		},
		"no app": {
			signed: true, body: `{"type":"ContactUpdate","id":"c16"}`, code: 403, answer: `{"error":"not signed for an app that is allowed here"}`,
		},

		"a body over 1 MiB":        {header: secret, body: filled(1<<20 + 1), code: 413, answer: tooLarge},
		"no body":                  {header: secret, code: 400, answer: `{"error":"body is empty"}`},
		"an array":                 {header: secret, body: "[{},{}]", code: 400, answer: `{"error":"body is not a JSON object: it is an array"}`},
		"half an object":           {header: secret, body: `{"a":`, code: 200, answer: unparseable},
		"bytes that are not UTF-8": {header: secret, body: "{\"a\":\"\xff\"}", code: 200, answer: unparseable},
		"half an object, signed":   {signed: true, body: `{"a":`, code: 400, answer: `{"error":"body is not valid JSON: unexpected end of JSON input at byte 5"}`},
		"a thousand and one":       {header: secret, body: deep(1001), code: 400, answer: `{"error":"body is nested deeper than 1000 levels"}`},
		"a compressed body": {
			header: with("Content-Encoding", "gzip"), body: "\x1f\x8b", code: 400, answer: `{"error":"body is not valid gzip, although its Content-Encoding is gzip"}`,
		},

		"GET":           {method: http.MethodGet, code: 405, answer: notAllowed},
		"PUT":           {method: http.MethodPut, header: secret, body: workflow("c17"), code: 405, answer: notAllowed},
		"a path below":  {path: "/api/webhooks/ghl/x", header: secret, body: workflow("c18"), code: 404, answer: notFound},
		"a dot in path": {path: "/api/./webhooks/ghl", header: secret, body: workflow("c19"), code: 404, answer: notFound},
		"the jobs endpoint": {
			path: "/api/jobs/process-pending", header: http.Header{"Authorization": {"Bearer " + s.JobsSecret}}, code: 200,
		},
		"the jobs endpoint without its token": {
			path: "/api/jobs/process-pending", header: secret, code: 401, answer: `{"error":"expected the bearer token of the jobs endpoint"}`,
		},
	}
}

func TestWhatIsAnsweredAndWhatIsStored(t *testing.T) {
	t.Parallel()
	s := start(t, system.Options{Receivers: 1})
	receiver := s.Receivers[0]
	receiver.Env["GHL_APP_IDS"], receiver.Env["GHL_LOCATION_IDS"] = s.Sender.AppID, s.Sender.LocationID
	require.NoError(t, receiver.Restart(t.Context()))

	var acknowledged []string
	for name, in := range inputs(s) {
		t.Run(name, func(t *testing.T) {
			code, header, body := send(t, s, in)
			assert.Equal(t, in.code, code)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			if code == http.StatusMethodNotAllowed {
				assert.Equal(t, http.MethodPost, header.Get("Allow"))
			}
			if in.answer != "" {
				assert.Equal(t, in.answer, anID.ReplaceAllString(strings.TrimSpace(body), "<id>"))
			}
			if in.answer != accepted && in.answer != unparseable {
				return
			}
			id := anID.FindString(body)
			acknowledged = append(acknowledged, id)
			assert.Equal(t, sha256Of([]byte(in.body)), storedHash(t, s, id), "what is stored is what was sent")
			_, _, body = send(t, s, in)
			assert.Equal(t, `{"id":"`+id+`","status":"duplicate"}`, strings.TrimSpace(body))
		})
	}

	rows, err := s.Database.Query(t.Context(), "SELECT id::text FROM webhook_events")
	require.NoError(t, err)
	stored, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.ElementsMatch(t, acknowledged, stored, "what was acknowledged is stored, and nothing else")
}

func send(t *testing.T, s *system.System, in input) (code int, header http.Header, body string) {
	t.Helper()
	method, path := in.method, in.path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/api/webhooks/ghl"
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.Receivers[0].URL+path, strings.NewReader(in.body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	maps.Copy(request.Header, in.header)
	if in.signed {
		request.Header.Set("X-GHL-Signature", s.Sender.Sign([]byte(in.body)))
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(content)
}

// storedHash returns the hash of the bytes that would be forwarded.
func storedHash(t *testing.T, s *system.System, id string) string {
	t.Helper()
	var hash string
	require.NoError(t, s.Database.QueryRow(t.Context(),
		"SELECT encode(sha256(coalesce(payload_raw, convert_to(payload_json::text, 'UTF8'))), 'hex') FROM webhook_events WHERE id = $1", id).Scan(&hash))
	return hash
}

func statusOf(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	return response.StatusCode
}
