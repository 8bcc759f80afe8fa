package receiver_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// mebibyte is the largest body.
const mebibyte = 1 << 20

// A flood is what each of many connections sends before it waits.
type flood struct {
	// memory is the receiver's limit; 0 is the default.
	memory int64
	conns  int
	send   string
	// slow makes every commit last until the end of the flood, or until its timeout of 3 s.
	slow bool
	// bound is the maximum of heap and stacks of this process during the flood, in MiB.
	bound int
	// passes is true if webhooks of other senders are accepted during the flood.
	passes bool
}

// TestAFloodStaysWithinTheMemory is not parallel: it measures the heap of the process. Every flood but the first and largest meets a receiver
// with a limit of 256 MiB. The first meets one with the chart's limit.
func TestAFloodStaysWithinTheMemory(t *testing.T) {
	const (
		small    = 256 * mebibyte
		announce = "Content-Length: 1000\r\n\r\n"
	)
	authentic := "X-Webhook-Secret: " + workflowSecret + "\r\n"
	request := func(headers string) string { return "POST /api/webhooks/ghl HTTP/1.1\r\nHost: x\r\n" + headers }
	form := "Content-Type: application/x-www-form-urlencoded\r\n"
	sized := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }
	for name, flood := range map[string]flood{
		"63,490 bytes of short headers at the limit of the chart": {
			conns: 1500, send: request(fill(63_490, audited) + announce), bound: 320,
		},
		"short headers that are allowed at the limit of the chart": {conns: 1500, send: request(fill(12_000, shortest) + announce), bound: 320},
		"short headers":            {memory: small, conns: 600, send: request(fill(12_000, shortest) + announce), bound: 112},
		"headers of one name":      {memory: small, conns: 600, send: request(fill(12_000, func(int) string { return "a:b\n" }) + announce), bound: 112},
		"headers that do not end":  {memory: small, conns: 600, send: request(fill(12_000, shortest)), bound: 112},
		"a long URL":               {memory: small, conns: 600, send: "POST /api/webhooks/ghl?" + fill(12_000, flag) + " HTTP/1.1\r\nHost: x\r\n" + announce, bound: 112},
		"no byte":                  {memory: small, conns: 600, bound: 112},
		"bodies that never arrive": {memory: small, conns: 600, send: request("Content-Length: 1000000\r\n\r\n"), bound: 112},
		"half of large bodies":     {memory: small, conns: 200, send: request(sized(strings.Repeat(" ", mebibyte))[:mebibyte/2]), bound: 128},
		"large bodies in chunks":   {memory: small, conns: 200, send: request("Transfer-Encoding: chunked\r\n\r\n" + chunked(strings.Repeat(" ", mebibyte), 999)[:mebibyte/2]), bound: 128},
		"many small bodies":        {memory: small, conns: 600, send: strings.Repeat(request(authentic+sized(padded(4<<10))), 20), slow: true, bound: 112},
		"large JSON":               {memory: small, conns: 200, send: request(authentic + sized(`{`+fill(mebibyte-64, func(int) string { return `"\u0061":1,` })+`"a":1}`)), slow: true, bound: 256},
		"large forms": {memory: small, conns: 200, send: request(authentic + form + sized(fill(mebibyte-64, func(i int) string {
			return fmt.Sprintf("%d%s=%s&", i, strings.Repeat("[a]", i%2), strings.Repeat("\x01", 300))
		})[:340<<10])), slow: true, bound: 256},
		"forms that are too large":   {memory: small, conns: 200, send: request(authentic + form + sized(fill(mebibyte-64, func(i int) string { return fmt.Sprintf("%d[][][][a]&", i) }))), slow: true, bound: 256},
		"trailers":                   {memory: small, conns: 600, send: request(authentic + "Transfer-Encoding: chunked\r\n\r\n" + chunked(workflow, 99)[:len(chunked(workflow, 99))-2] + fill(4_000, shortest) + "\r\n"), slow: true, bound: 112},
		"trailers that do not end":   {memory: small, conns: 600, send: request(authentic + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + fill(63_490, shortest)), bound: 112},
		"connections that stay idle": {memory: small, conns: 600, send: "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", bound: 112, passes: true},
	} {
		t.Run(name, func(t *testing.T) { testFlood(t, flood) })
	}
}

func testFlood(t *testing.T, flood flood) {
	f := newEnvironment(t)
	if f.config.MemoryLimit = flood.memory; flood.memory > 0 {
		before := debug.SetMemoryLimit(flood.memory) // As the process does.
		defer debug.SetMemoryLimit(before)
	}
	f.config.MaxInFlight = 1000
	over := make(chan struct{})
	f.config.Committer = committer(func(ctx context.Context, d store.Delivery) error {
		if !flood.slow || d.Event.EntityID == anothers {
			return nil
		}
		select {
		case <-over:
		case <-ctx.Done():
		}
		return ctx.Err()
	})
	addr, probes := f.serveWithProbes(t)
	peak := watchHeap()

	var conns []net.Conn
	var sending sync.WaitGroup
	for range flood.conns {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(3*time.Second)))
		sending.Go(func() { _, _ = io.WriteString(conn, flood.send) }) // Some are refused meanwhile.
	}
	sent := make(chan struct{})
	go func() { sending.Wait(); close(sent) }()
	for done, asked := false, 0; !done || asked < 10; asked++ {
		select {
		case <-sent:
			done = true
		default:
		}
		assert.Equal(t, http.StatusOK, get(t, "http://"+probes+receiver.LivePath), "the process is alive")
		assert.Equal(t, http.StatusOK, get(t, "http://"+probes+receiver.ReadyPath), "and ready")
		assert.Contains(t, []int{http.StatusOK, http.StatusTooManyRequests, 0}, f.tryDeliver(t, addr))
	}
	if flood.passes {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			assert.Equal(c, http.StatusOK, f.tryDeliver(t, addr), "while the flood lasts")
		}, 5*time.Second, tick)
	}
	used := int(peak() >> 20)
	t.Logf("%d MiB at most, %d connections refused", used, f.counted(t, "verity_sync_refused_connections_total", ""))
	assert.LessOrEqual(t, used, flood.bound, "MiB")

	close(over)
	for _, conn := range conns {
		require.NoError(t, conn.Close())
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, http.StatusOK, f.tryDeliver(t, addr), "nothing is left of the flood")
	}, 5*time.Second, tick)
}

// committer is a Committer that stores nothing.
type committer func(context.Context, store.Delivery) error

func (c committer) Commit(ctx context.Context, d store.Delivery) (store.Receipt, error) {
	return store.Receipt{}, c(ctx, d)
}

// anothers is the contact of the webhooks that are not part of the flood.
const anothers = "contact-of-another"

// tryDeliver sends a webhook on a new connection and returns the code of the answer, 0 without one.
func (f *environment) tryDeliver(t *testing.T, addr string) int {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	text := requestText("POST", ghl.Path, secret, `{"contact_id":"`+anothers+`","location":{"id":"location-1"}}`)
	if _, err := io.WriteString(conn, text); err != nil {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func get(t *testing.T, url string) int {
	t.Helper()
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}} // As the kubelet does.
	resp, err := client.Get(url)
	if !assert.NoError(t, err) {
		return 0
	}
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// watchHeap returns a function that ends the watch and returns the maximum of heap and stacks, without garbage.
func watchHeap() (peak func() uint64) {
	over, result := make(chan struct{}), make(chan uint64)
	go func() {
		most := uint64(0)
		for {
			var stats runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&stats)
			most = max(most, stats.HeapAlloc+stats.StackInuse)
			select {
			case <-over:
				result <- most
				return
			default:
			}
		}
	}()
	return func() uint64 { close(over); return <-result }
}

// fill repeats what piece makes up to size bytes.
func fill(size int, piece func(i int) string) string {
	var text strings.Builder
	for i := 0; ; i++ {
		next := piece(i)
		if text.Len()+len(next) > size {
			return text.String()
		}
		text.WriteString(next)
	}
}

// audited is a header as in a security audit: A0, A1, ….
func audited(i int) string { return fmt.Sprintf("A%d:\r\n", i) }

// shortest is a header of the shortest name that is another for each i.
func shortest(i int) string { return name(i) + ":\n" }

// flag is a parameter of a query, likewise.
func flag(i int) string { return name(i) + "&" }

func name(i int) string {
	const first, other = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz0123456789-.^_`|~!"
	switch {
	case i < len(first):
		return first[i : i+1]
	default:
		i -= len(first)
		return name(i/len(other)%len(first)) + other[i%len(other):i%len(other)+1] + strings.Repeat("x", i/len(other)/len(first)%2) + strings.Repeat("y", i/len(other)/len(first)/2)
	}
}
