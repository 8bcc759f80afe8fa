package receiver_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

const (
	accepted        = `{"id":"<an id>","status":"accepted"}`
	ignored         = `{"status":"ignored"}`
	unparseable     = `{"id":"<an id>","status":"unparseable"}`
	perhaps         = `{"error":"the event may be stored, send it again to be sure"}`
	unauthenticated = `{"error":"no valid signature or secret"}`
	notOurApp       = `{"error":"not signed for an app that is allowed here"}`
	tooLarge        = `{"error":"body is larger than 1048576 bytes"}`
	manyFields      = `{"error":"form is too large: more than 20000 fields, or more than 2097152 bytes as JSON"}`
	manyObjects     = `{"error":"form is too large: more than 1000 nested objects"}`
	notNow          = `{"error":"the event cannot be stored now, send it again"}`
	notFound        = `{"error":"not found"}`
	notAllowed      = `{"error":"method not allowed"}`
	notGzip         = `{"error":"body is not valid gzip, although its Content-Encoding is gzip"}`
	noBearer        = `{"error":"expected the bearer token of the jobs endpoint"}`
)

var (
	asJSON     = http.Header{"Content-Type": {"application/json"}}
	secret     = with(asJSON, "X-Webhook-Secret", workflowSecret)
	compressed = with(secret, "Content-Encoding", "gzip")
	jobsBearer = http.Header{"Authorization": {"Bearer " + jobsSecret}}

	retry     = map[string]string{"Retry-After": "30"}
	allowPost = map[string]string{"Allow": "POST"}
	allowGet  = map[string]string{"Allow": "GET, HEAD"}
)

func TestAuthenticWebhooksAreAccepted(t *testing.T) {
	t.Parallel()
	form := with(secret, "Content-Type", "application/x-www-form-urlencoded")
	testExchanges(t, map[string]exchange{
		"a signed webhook":                {body: marketplace, signed: true, answer: accepted},
		"a slash at the end of the path":  {target: ghl.Path + "/", body: marketplace, signed: true, answer: accepted},
		"a query":                         {target: ghl.Path + "?a=b", body: marketplace, signed: true, answer: accepted},
		"an unknown type":                 {body: strings.Replace(marketplace, "ContactUpdate", "Новое", 1), signed: true, answer: accepted},
		"a secret in its header":          {header: secret, body: workflow, answer: accepted},
		"a secret as a bearer token":      {header: with(asJSON, "Authorization", "Bearer "+workflowSecret), body: workflow, answer: accepted},
		"a secret in the query":           {target: ghl.Path + "?token=" + workflowSecret, body: workflow, answer: accepted},
		"the older of two secrets":        {header: with(asJSON, "X-Webhook-Secret", "retired-secret"), body: workflow, answer: accepted},
		"a signature that is N/A":         {header: with(secret, "X-GHL-Signature", "N/A"), body: workflow, answer: accepted},
		"a form":                          {header: form, body: "contact_id=contact-1&location_id=location-1", answer: accepted},
		"the identity encoding":           {header: with(secret, "Content-Encoding", "identity"), body: workflow, answer: accepted},
		"gzip":                            {header: compressed, body: gzipped(workflow), answer: accepted},
		"gzip by its former name":         {header: with(secret, "Content-Encoding", " X-Gzip"), body: gzipped(workflow), answer: accepted},
		"gzip in two members":             {header: compressed, body: gzipped(workflow[:20]) + gzipped(workflow[20:]), answer: accepted},
		"gzip of just 1 MiB":              {header: compressed, body: gzipped(padded(1 << 20)), answer: accepted},
		"gzip, signed as it is received":  {encoding: "gzip", body: gzipped(marketplace), signed: true, answer: accepted},
		"an object in an array":           {header: secret, body: "[" + workflow + "]", answer: accepted},
		"an object in a string":           {header: secret, body: strconv.Quote(workflow), answer: accepted},
		"a body in chunks":                {header: with(secret, "Transfer-Encoding", "chunked"), body: chunked(workflow, 10), answer: accepted},
		"a body of just 1 MiB":            {header: secret, body: padded(1 << 20), answer: accepted},
		"a body in chunks, of just 1 MiB": {header: with(secret, "Transfer-Encoding", "chunked"), body: chunked(padded(1<<20), 1<<16), answer: accepted},
	}, func(x *exchange) { x.code, x.stored = http.StatusOK, 1 })

	testExchanges(t, map[string]exchange{
		"another location": {body: strings.Replace(marketplace, locationID, "location-2", 1), signed: true, answer: ignored},
	}, func(x *exchange) { x.code, x.counts = http.StatusOK, "verity_sync_webhook_ignored_total" })
}

func TestOtherSendersAreRejected(t *testing.T) {
	t.Parallel()
	testExchanges(t, map[string]exchange{
		"no signature and no secret":        {header: asJSON, body: workflow},
		"a wrong secret":                    {header: with(asJSON, "X-Webhook-Secret", "guess"), body: workflow},
		"an empty secret":                   {header: with(asJSON, "X-Webhook-Secret", ""), body: workflow},
		"the secret of the jobs endpoint":   {header: jobsBearer, body: workflow},
		"a signature of another body":       {given: signing("{}"), body: marketplace},
		"a wrong signature beside a secret": {header: with(secret, "X-GHL-Signature", "c2lnbmF0dXJl"), body: workflow},
		"a body that is not JSON":           {header: asJSON, body: "<xml/>"},
		"a body in gzip":                    {header: with(asJSON, "Content-Encoding", "gzip"), body: "\x1f\x8b"},
	}, func(x *exchange) {
		x.code, x.answer, x.answers = http.StatusUnauthorized, unauthenticated, map[string]string{"WWW-Authenticate": "Bearer"}
	})

	testExchanges(t, map[string]exchange{
		"another app": {body: strings.Replace(marketplace, appID, "app-2", 1), signed: true},
		"no app":      {body: strings.Replace(marketplace, "appId", "app", 1), signed: true},
	}, func(x *exchange) { x.code, x.answer = http.StatusForbidden, notOurApp })
}

func TestMalformedRequestsAreRejected(t *testing.T) {
	t.Parallel()
	inChunks := with(secret, "Transfer-Encoding", "chunked")
	testExchanges(t, map[string]exchange{
		"a body over 1 MiB":              {header: secret, body: padded(1<<20 + 1)},
		"a body over 1 MiB, in chunks":   {header: inChunks, body: chunked(padded(1<<20+1), 1<<16)},
		"a body over 1 MiB, from anyone": {header: asJSON, body: padded(1<<20 + 1)},
	}, func(x *exchange) {
		x.code, x.answer, x.answers = http.StatusRequestEntityTooLarge, tooLarge, map[string]string{"Connection": "close"}
	})

	testExchanges(t, map[string]exchange{
		"gzip of a body over 1 MiB": {header: compressed, body: gzipped(padded(1<<20 + 1))},
		"gzip of 1 GiB":             {header: compressed, body: strings.Repeat(gzipped(strings.Repeat(" ", 1<<20)), 600)},
	}, func(x *exchange) { x.code, x.answer = http.StatusRequestEntityTooLarge, tooLarge })
	testExchanges(t, map[string]exchange{
		"br":         {header: with(secret, "Content-Encoding", "br")},
		"deflate":    {header: with(secret, "Content-Encoding", "deflate")},
		"zstd":       {header: with(secret, "Content-Encoding", "zstd")},
		"gzip twice": {header: with(secret, "Content-Encoding", "gzip, gzip")},
	}, func(x *exchange) {
		x.code, x.body, x.answers = http.StatusUnsupportedMediaType, workflow, map[string]string{"Accept-Encoding": "gzip"}
		x.answer = `{"error":"content encoding \"` + x.header.Get("Content-Encoding") + `\" is not supported: send the body uncompressed or as gzip"}`
	})
	form := with(secret, "Content-Type", "application/x-www-form-urlencoded")
	testExchanges(t, map[string]exchange{
		"a form of too many fields":  {body: strings.Repeat("a&", 20_001), answer: manyFields},
		"a form of too many objects": {body: fill(20_000, func(i int) string { return fmt.Sprintf("%d[a]&", i) }), answer: manyObjects},
		"a form that grows too much": {body: "a=" + strings.Repeat("\x01", 400<<10), answer: manyFields},
	}, func(x *exchange) { x.header, x.code = form, http.StatusRequestEntityTooLarge })

	deep := strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001)
	testExchanges(t, map[string]exchange{
		"an array":                         {body: "[{},{}]", answer: `{"error":"body is not a JSON object: it is an array"}`},
		"no body":                          {body: "", answer: `{"error":"body is empty"}`},
		"half an object, signed":           {body: `{"a":`, signed: true, answer: `{"error":"body is not valid JSON: unexpected end of JSON input at byte 5"}`},
		"bytes that are not UTF-8, signed": {body: "{\"a\":\"\xff\"}", signed: true, answer: `{"error":"body is not valid UTF-8"}`},
		"no JSON, signed": {
			body: "<xml/>", signed: true, answer: `{"error":"body is not a JSON object: it is not JSON, and its content type is not a form's"}`,
		},
		"half an object, signed, beside a secret": {
			given: alsoSigning, body: `{"a":`, answer: `{"error":"body is not valid JSON: unexpected end of JSON input at byte 5"}`,
		},
		"half an object, from anyone, if that is allowed": {
			given: allowingAnyone, header: asJSON, body: `{"a":`, answer: `{"error":"body is not valid JSON: unexpected end of JSON input at byte 5"}`,
		},
		"a thousand and one levels":                  {body: deep, answer: `{"error":"body is nested deeper than 1000 levels"}`},
		"a body that is not gzip":                    {header: compressed, body: "\x1f\x8b", answer: notGzip},
		"gzip that is cut":                           {header: compressed, body: gzipped(workflow)[:40], answer: notGzip},
		"gzip with bytes after it":                   {header: compressed, body: gzipped(workflow) + "x", answer: notGzip},
		"a delivery that the store can never accept": {given: failing(unacceptable), body: workflow, answer: `{"error":"store: no row can hold it"}`},
	}, func(x *exchange) {
		if x.code = http.StatusBadRequest; x.header == nil && !x.signed {
			x.header = secret
		}
	})
}

// alsoSigning adds a valid signature to the requests.
func alsoSigning(f *environment) { f.signature = f.sign(`{"a":`).Get("X-GHL-Signature") }

func allowingAnyone(f *environment) {
	source, err := ghl.NewSource(ghl.AuthConfig{AllowUnauthenticated: true})
	if err != nil {
		panic(err)
	}
	f.config.Sources = []receiver.Source{source}
}

func TestAnUnparseableBodyWithASecretIsStoredAsReceived(t *testing.T) {
	t.Parallel()
	form := with(secret, "Content-Type", "application/x-www-form-urlencoded")
	testExchanges(t, map[string]exchange{
		"a line break in a value":           {body: "{\"contact_id\":\"c1\",\"note\":\"first\nsecond\"}"},
		"a carriage return in a value":      {body: "{\"note\":\"first\r\nsecond\"}"},
		"a tab in a value":                  {body: "{\"note\":\"a\tb\"}"},
		"a quote in a value":                {body: `{"contact_id":"c1","note":"says "hi" to all"}`},
		"a quote at the end of a value":     {body: `{"note":"6' 2""}`},
		"a backslash in a value":            {body: `{"note":"C:\users"}`},
		"a value that is missing":           {body: `{"age":,"note":""}`},
		"half an object":                    {body: `{"a":`},
		"an array with a line break":        {body: "[{\"a\":\"\n\"}]"},
		"text after the object":             {body: `{}}`},
		"bytes that are not UTF-8":          {body: "{\"a\":\"Zo\xeb\"}"},
		"a value instead of an object":      {body: "Zoe Example"},
		"no JSON":                           {body: "<xml/>"},
		"a form with a percent sign":        {header: form, body: "contact_id=c1&note=100% sure"},
		"a form of bytes that are no UTF-8": {header: form, body: "note=Zo%EB"},
		"a location that is not wanted":     {body: "{\"locationId\":\"location-2\",\"note\":\"\n\"}"},
		"a secret in the query":             {target: ghl.Path + "?token=" + workflowSecret, header: asJSON, body: `{"a":`},
		"a signature that is N/A":           {header: with(secret, "X-GHL-Signature", "N/A"), body: `{"a":`},
	}, func(x *exchange) {
		if x.code, x.stored, x.answer = http.StatusOK, 1, unparseable; x.header == nil {
			x.header = secret
		}
	})
	testExchanges(t, map[string]exchange{
		"where the store is down": {given: failing(errors.New("connection refused"))},
	}, func(x *exchange) {
		x.code, x.answer, x.answers, x.header, x.body = http.StatusTooManyRequests, notNow, retry, secret, "{"
	})
}

func TestAnUnparseableBodyIsOneEventForAllItsDeliveries(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	addr := f.serve(t)
	const body = "{\"note\":\"\n\"}"
	deliver := func(body string) (id, status string) {
		return send(t, addr, requestText("POST", ghl.Path, secret, body)).accepted(t)
	}
	first, status := deliver(body)
	assert.Equal(t, "unparseable", status)
	again, status := deliver(body)
	assert.Equal(t, "duplicate", status)
	assert.Equal(t, first, again)
	_, status = deliver(body + " ")
	assert.Equal(t, "unparseable", status)

	stored := f.recorder.stored()
	assert.Len(t, stored, 2)
	assert.Equal(t, store.Delivery{
		Event: event.Event{
			Source: "ghl", Type: "unparseable", EntityType: "unknown",
			DedupeKey: "ghl:unparseable:" + hex.EncodeToString(stored[0].BodyHash[:]),
		},
		Payload: []byte("{}"), Raw: []byte(body), Headers: map[string]string{"Content-Type": "application/json"}, BodyHash: sha256.Sum256([]byte(body)),
	}, stored[0])
}

func TestUnparseableBodiesAreLimited(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	addr := f.serve(t)
	codes := map[int]int{}
	for i := range 150 {
		codes[send(t, addr, requestText("POST", ghl.Path, secret, strconv.Itoa(i)+`{"`)).code]++
	}
	assert.GreaterOrEqual(t, codes[http.StatusOK], 100)
	assert.Positive(t, codes[http.StatusTooManyRequests], "the rest is answered 429")
	assert.Len(t, f.recorder.stored(), codes[http.StatusOK])
	assert.Equal(t, http.StatusOK, send(t, addr, requestText("POST", ghl.Path, secret, workflow)).code, "others are not limited")
}

func TestADeliveryWhoseSenderClosedTheConnectionIsReported(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	left, reported := make(chan struct{}), make(chan store.Receipt, 1)
	f.recorder.before = func(context.Context) error {
		<-left
		return nil
	}
	f.config.Unanswered = func(_ store.Delivery, r store.Receipt) { reported <- r }
	server := httptest.NewUnstartedServer(nil)
	handler, err := receiver.New(f.config)
	require.NoError(t, err)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			<-r.Context().Done()
			close(left)
		}()
		handler.ServeHTTP(w, r)
	})
	server.Start()
	defer server.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(conn, requestText("POST", ghl.Path, secret, workflow))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	r := <-reported
	assert.NotEqual(t, uuid.Nil, r.ID)
	assert.Len(t, f.recorder.stored(), 1)
}

func TestAWebhookThatIsNotStoredIsAnswered429(t *testing.T) {
	t.Parallel()
	testExchanges(t, map[string]exchange{
		"a store that is down":    {given: failing(errors.New("connection refused"))},
		"a store that is limited": {given: failing(&destination.Error{Class: destination.Unavailable})},
		"a panic":                 {given: panicking("boom"), counts: "verity_sync_webhook_panics_total"},
	}, func(x *exchange) {
		x.code, x.answer, x.answers, x.header, x.body = http.StatusTooManyRequests, notNow, retry, secret, workflow
	})
	testExchanges(t, map[string]exchange{
		"a commit that may have happened": {given: failing(fmt.Errorf("commit: %w", store.ErrUncertain))},
	}, func(x *exchange) {
		x.code, x.answer, x.answers, x.header, x.body = http.StatusTooManyRequests, perhaps, retry, secret, workflow
	})
}

func TestOtherRequestsAreNeverRedirected(t *testing.T) {
	t.Parallel()
	testExchanges(t, map[string]exchange{
		"GET":             {method: "GET", answer: notAllowed},
		"HEAD":            {method: "HEAD"},
		"OPTIONS":         {method: "OPTIONS", answer: notAllowed},
		"DELETE":          {method: "DELETE", target: ghl.Path + "/", answer: notAllowed},
		"PUT with a body": {method: "PUT", header: secret, body: workflow, answer: notAllowed},
	}, func(x *exchange) { x.code, x.answers = http.StatusMethodNotAllowed, allowPost })

	testExchanges(t, map[string]exchange{
		"OPTIONS of everything": {method: "OPTIONS", target: "*"},
		"the root":              {target: "/"},
		"a path above":          {target: "/api/webhooks"},
		"a path below":          {target: "/api/webhooks/ghl/x"},
		"two slashes first":     {target: "//api/webhooks/ghl"},
		"two slashes inside":    {target: "/api//webhooks/ghl"},
		"two slashes last":      {target: "/api/webhooks/ghl//"},
		"a dot":                 {target: "/api/./webhooks/ghl"},
		"two dots":              {target: "/api/x/../webhooks/ghl"},
		"another case":          {target: "/API/webhooks/ghl"},
		"the root, by OPTIONS":  {method: "OPTIONS", target: "/"},
		"the metrics":           {method: "GET", target: "/metrics"},
	}, func(x *exchange) {
		if x.code, x.answer = http.StatusNotFound, notFound; x.method == "" {
			x.header, x.body = secret, workflow
		}
	})
}

func TestTheJobsEndpoint(t *testing.T) {
	t.Parallel()
	const backlog = `{"pending":43500,"undispatched":42500}`
	basic := http.Header{"Authorization": {"Basic " + jobsSecret}}
	wrong := http.Header{"Authorization": {"Bearer guess"}}
	empty := http.Header{"Authorization": {"Bearer "}}
	notConfigured := func(f *environment) { f.config.JobsSecret = "" }
	noDatabase := func(f *environment) { f.jobs.err = errors.New("connection refused") }
	testExchanges(t, map[string]exchange{
		"with its token":           {header: jobsBearer, code: 200, answer: backlog},
		"with a slash at the end":  {target: receiver.JobsPath + "/", header: jobsBearer, code: 200, answer: backlog},
		"with a body":              {header: jobsBearer, body: "{}", code: 200, answer: backlog},
		"without a token":          {code: 401, answer: noBearer, answers: map[string]string{"WWW-Authenticate": "Bearer"}},
		"with a wrong token":       {header: wrong, code: 401, answer: noBearer},
		"with an empty token":      {header: empty, code: 401, answer: noBearer},
		"with another scheme":      {header: basic, code: 401, answer: noBearer},
		"by GET":                   {method: "GET", header: jobsBearer, code: 405, answer: notAllowed, answers: allowPost},
		"that is not configured":   {given: notConfigured, header: empty, code: 404, answer: notFound},
		"without an answer for it": {given: noDatabase, header: jobsBearer, code: 429, answer: `{"error":"the database does not answer, try again later"}`, answers: retry},
	}, func(x *exchange) {
		if x.target == "" {
			x.target = receiver.JobsPath
		}
	})
}

func TestProbes(t *testing.T) {
	t.Parallel()
	const ok = `{"status":"ok"}`
	storeDown := failing(errors.New("connection refused"))
	testExchanges(t, map[string]exchange{
		"the root":                       {method: "GET", target: "/", code: 200, answer: ok},
		"the root, with a query":         {method: "GET", target: "/?x", code: 200, answer: ok},
		"the root, by HEAD":              {method: "HEAD", target: "/", code: 200},
		"live":                           {method: "GET", target: "/healthz", code: 200, answer: ok},
		"live, by HEAD":                  {method: "HEAD", target: "/healthz", code: 200},
		"live, by POST":                  {target: "/healthz", code: 405, answer: notAllowed, answers: allowGet},
		"ready":                          {method: "GET", target: "/readyz", code: 200, answer: ok},
		"ready though the store is down": {given: storeDown, method: "GET", target: "/readyz", code: 200, answer: ok},
		"ready, by POST":                 {target: "/readyz", code: 405, answer: notAllowed, answers: allowGet},
	}, func(*exchange) {})
}
