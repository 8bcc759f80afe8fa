package receiver_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// marketplace is the body of a signed webhook, workflow that of an unsigned one.
const (
	marketplace = `{"type":"ContactUpdate","locationId":"location-1","appId":"app-1","id":"contact-1","webhookId":"webhook-1"}`
	workflow    = `{"contact_id":"contact-1","location":{"id":"location-1"},"calendar":{"appointmentId":"appointment-1"}}`
)

const (
	workflowSecret = "workflow-secret"
	jobsSecret     = "jobs-secret"
	appID          = "app-1"
	locationID     = "location-1"
)

// recorder is a Committer that keeps deliveries in memory, one for each dedupe key.
type recorder struct {
	// before, if set, runs first; its error is returned.
	before func(ctx context.Context) error

	mu         sync.Mutex
	deliveries []store.Delivery
	ids        map[string]uuid.UUID
}

func (r *recorder) Commit(ctx context.Context, d store.Delivery) (store.Receipt, error) {
	if r.before != nil {
		if err := r.before(ctx); err != nil {
			return store.Receipt{}, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := r.ids[d.Event.DedupeKey]; ok {
		return store.Receipt{ID: id, Duplicate: true}, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return store.Receipt{}, err
	}
	if d.Event.DedupeKey != "" {
		r.ids[d.Event.DedupeKey] = id
	}
	r.deliveries = append(r.deliveries, d)
	return store.Receipt{ID: id, ReceivedAt: time.Now()}, nil
}

func (r *recorder) stored() []store.Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]store.Delivery{}, r.deliveries...)
}

// jobs is a Jobs with a backlog that does not change.
type jobs struct {
	err   error
	mu    sync.Mutex
	woken int
}

func (j *jobs) Backlog(context.Context) (store.Backlog, error) {
	return store.Backlog{Pending: 43500, Undispatched: 42500}, j.err
}

func (j *jobs) Wake(context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.woken++
	return nil
}

func (j *jobs) wakes() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.woken
}

// environment is a receiver with everything around it in memory.
type environment struct {
	config receiver.Config
	key    ed25519.PrivateKey
	// signature, if set, is the signature of every request.
	signature string
	recorder  *recorder
	jobs      *jobs
	registry  *prometheus.Registry
}

func newEnvironment(t testing.TB) *environment {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	source, err := ghl.NewSource(ghl.AuthConfig{
		PublicKeys:  []string{base64.StdEncoding.EncodeToString(public)},
		Secrets:     []string{"retired-secret", workflowSecret},
		AppIDs:      []string{appID},
		LocationIDs: []string{locationID},
	})
	require.NoError(t, err)
	f := &environment{
		key:      private,
		recorder: &recorder{ids: map[string]uuid.UUID{}},
		jobs:     &jobs{},
		registry: prometheus.NewPedanticRegistry(),
	}
	f.config = receiver.Config{
		Sources:         []receiver.Source{source},
		Committer:       f.recorder,
		Jobs:            f.jobs,
		JobsSecret:      jobsSecret,
		MaxInFlight:     100,
		ShutdownTimeout: 20 * time.Second,
		Metrics:         metrics.NewReceiver(f.registry),
		Log:             logr.Discard(),
	}
	return f
}

// signing replaces the signature by that of another body.
func signing(body string) func(*environment) {
	return func(f *environment) { f.signature = f.sign(body).Get("X-GHL-Signature") }
}

// sign returns the headers of a marketplace webhook with that body.
func (f *environment) sign(body string) http.Header {
	return http.Header{
		"Content-Type":    {"application/json"},
		"X-Ghl-Signature": {base64.StdEncoding.EncodeToString(ed25519.Sign(f.key, []byte(body)))},
	}
}

// unacceptable is the store's error for a delivery that it can never store.
var unacceptable = &destination.Error{Destination: "store", Class: destination.Permanent, Message: "no row can hold it"}

// failing makes every commit fail.
func failing(err error) func(*environment) {
	return func(f *environment) { f.recorder.before = func(context.Context) error { return err } }
}

// panicking makes every commit panic.
func panicking(value any) func(*environment) {
	return func(f *environment) { f.recorder.before = func(context.Context) error { panic(value) } }
}

// serve starts the receiver on a real port and returns its address. At the end of the test, the receiver must stop without an error.
func (f *environment) serve(t *testing.T) (addr string) {
	t.Helper()
	addr, _ = f.serveWithProbes(t)
	return addr
}

// serveWithProbes does the same, and also returns the address of the probes alone.
func (f *environment) serveWithProbes(t *testing.T) (addr, probes string) {
	t.Helper()
	server, err := receiver.New(f.config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var addresses []string
	for _, serve := range []func(context.Context, net.Listener) error{server.Serve, server.ServeProbes} {
		var listen net.ListenConfig
		l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addresses = append(addresses, l.Addr().String())
		served := make(chan error, 1)
		go func() { served <- serve(ctx, l) }()
		t.Cleanup(func() {
			cancel()
			require.NoError(t, <-served)
		})
	}
	return addresses[0], addresses[1]
}

// response is what a client sees.
type response struct {
	code   int
	header http.Header
	body   string
}

// send writes a request unchanged, without a client that corrects it, and reads the answer.
func send(t *testing.T, addr, request string) response {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	return read(t, conn, request)
}

func read(t *testing.T, conn net.Conn, request string) response {
	t.Helper()
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.Close {
		// ReadResponse takes it out.
		resp.Header.Set("Connection", "close")
	}
	return response{resp.StatusCode, resp.Header, string(body)}
}

// requestText is a request as it goes over the wire.
func requestText(method, target string, header http.Header, body string) string {
	var text strings.Builder
	text.WriteString(method + " " + target + " HTTP/1.1\r\nHost: verity-sync.example.com\r\n")
	_ = header.Write(&text) // Into memory.
	if body != "" && header.Get("Transfer-Encoding") == "" {
		text.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	text.WriteString("\r\n" + body)
	return text.String()
}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Set(name, value)
	return h
}

// anonymous replaces the id in an answer, which is always different.
func anonymous(body string) string {
	const before = `{"id":"`
	if rest, ok := strings.CutPrefix(body, before); ok && len(rest) > 36 && uuid.Validate(rest[:36]) == nil {
		return before + "<an id>" + rest[36:]
	}
	return body
}

// chunked is a body as it goes over the wire, in chunks of that size.
func chunked(body string, size int) string {
	var text strings.Builder
	for body != "" {
		n := min(size, len(body))
		fmt.Fprintf(&text, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return text.String() + "0\r\n\r\n"
}

// padded is an object of exactly that size.
func padded(size int) string {
	const head, tail = `{"location_id":"location-1","a":"`, `"}`
	return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
}

// counted returns the value of a counter: the one with that code, or the only one.
func (f *environment) counted(t *testing.T, name, code string) int {
	t.Helper()
	families, err := f.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (code == "" || m.GetLabel()[0].GetValue() == code) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	require.Fail(t, "no such metric", "%s, code %q", name, code)
	return 0
}

// countedOf returns how many requests of a source were answered with a code.
func (f *environment) countedOf(t *testing.T, source, code string) int {
	t.Helper()
	families, err := f.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := m.GetLabel()
			if family.GetName() == "verity_sync_webhook_requests_total" && labels[0].GetValue() == code && labels[1].GetValue() == source {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// accepted returns the content of a 200.
func (r response) accepted(t *testing.T) (id, status string) {
	t.Helper()
	var body struct{ ID, Status string }
	require.NoError(t, json.Unmarshal([]byte(r.body), &body))
	return body.ID, body.Status
}

// The timeout and the interval of waits for what happens after the answer.
const (
	eventually = time.Minute
	tick       = time.Millisecond
)
