package intake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// TestAFloodIsAnswered429WhereThereIsLittleMemory is not parallel: it changes one of the receivers, and locks the table of all.
func TestAFloodIsAnswered429WhereThereIsLittleMemory(t *testing.T) {
	receiver := middleware.Receivers[1]
	peak := giveLittleMemory(t, receiver)
	pid := receiver.PID()

	unlock := lockTable(t) // Bodies stay where they are.
	var posting sync.WaitGroup
	var answered atomic.Int32
	for i := range 200 {
		posting.Go(func() {
			answer, err := middleware.Post(t.Context(), receiver, large(i))
			if failed := net.Error(nil); errors.As(err, &failed) && !failed.Timeout() {
				return // Above its limit of connections, the receiver answers 429 and closes. A client that is still sending may not read the answer.
			}
			if assert.NoError(t, err) && assert.Equal(t, http.StatusTooManyRequests, answer.Status) {
				answered.Add(1)
			}
		})
	}
	posting.Wait()
	t.Logf("%d of 200 read an answer", answered.Load())
	assert.GreaterOrEqual(t, answered.Load(), int32(20), "webhooks that are read are answered 429")
	unlock()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		answer, err := middleware.Post(t.Context(), receiver, large(0))
		require.NoError(c, err)
		assert.Equal(c, http.StatusOK, answer.Status, "one body always fits")
	})
	assertWithinLittleMemory(t, peak())
	assert.Equal(t, pid, receiver.PID())
}

// TestAFloodOfConnectionsLeavesAReceiverAlive is not parallel either. It sends what a security audit has sent, in the largest size that is still
// read, and what that becomes otherwise.
func TestAFloodOfConnectionsLeavesAReceiverAlive(t *testing.T) {
	const post = "POST /api/webhooks/ghl HTTP/1.1\r\nHost: x\r\n"
	headers := func(size int) string {
		var text strings.Builder
		for i := 0; text.Len() < size-10; i++ {
			fmt.Fprintf(&text, "A%d:\r\n", i)
		}
		return text.String()
	}
	for name, text := range map[string]string{
		"headers that are too large":                    post + headers(63_490) + "Content-Length: 1000\r\n\r\n",
		"headers, and a body that is never sent":        post + headers(12_000) + "Content-Length: 1000\r\n\r\n",
		"headers that never end":                        post + headers(12_000),
		"half a body":                                   post + "Content-Length: 100000\r\n\r\n" + strings.Repeat(" ", 50_000),
		"nothing":                                       "",
		"a request, after which the connection is idle": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			receiver := middleware.Receivers[1]
			peak := giveLittleMemory(t, receiver)
			pid := receiver.PID()
			var sending sync.WaitGroup
			var conns []net.Conn
			for range 1500 {
				conn, err := net.Dial("tcp", strings.TrimPrefix(receiver.URL, "http://"))
				require.NoError(t, err)
				defer conn.Close()
				conns = append(conns, conn)
				require.NoError(t, conn.SetWriteDeadline(time.Now().Add(2*time.Second)))
				sending.Go(func() { _, _ = io.WriteString(conn, text) }) // Some are refused meanwhile.
			}
			for range 10 {
				for _, path := range []string{"/healthz", "/readyz"} {
					assert.Equal(t, http.StatusOK, get(t, receiver.ProbeURL+path), path)
				}
			}
			sending.Wait()
			for _, conn := range conns {
				require.NoError(t, conn.Close())
			}
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				answer, err := middleware.Post(t.Context(), receiver, large(0))
				require.NoError(c, err)
				assert.Equal(c, http.StatusOK, answer.Status)
			}, 5*time.Second, systemtest.Tick)
			assertWithinLittleMemory(t, peak())
			assert.Equal(t, pid, receiver.PID())
		})
	}
}

// littleMemory is what a container may use, in bytes.
const littleMemory = 128 << 20

// giveLittleMemory restarts a receiver as it runs in a container with little memory, until the end of the test. The function that it returns
// ends the watch and says how much was in use at most.
func giveLittleMemory(t *testing.T, receiver *system.Process) (peak func() int) {
	t.Helper()
	tested := receiver.Binary
	receiver.Binary = filepath.Join(t.TempDir(), "verity-sync")
	require.NoError(t, system.BuildReleased(t.Context(), receiver.Binary))
	receiver.Env["GOMEMLIMIT"] = strconv.Itoa(littleMemory / 100 * 90)
	require.NoError(t, receiver.Restart(t.Context()))
	t.Cleanup(func() {
		receiver.Binary = tested
		delete(receiver.Env, "GOMEMLIMIT")
		require.NoError(t, receiver.Restart(context.Background()))
	})
	pid := receiver.PID()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	most := make(chan int, 1)
	go func() {
		peak := 0
		for ctx.Err() == nil {
			peak = max(peak, anonymousMemory(pid))
			time.Sleep(5 * time.Millisecond) // How often it is looked at.
		}
		most <- peak
	}()
	return func() int { stop(); return <-most }
}

func assertWithinLittleMemory(t *testing.T, peak int) {
	t.Helper()
	t.Logf("%d MiB of %d MiB", peak>>20, littleMemory>>20)
	require.Positive(t, peak)
	assert.Less(t, peak, littleMemory)
}

// large is a webhook of a little less than 1 MiB.
func large(i int) ghlsender.Webhook {
	body := fmt.Appendf(nil, `{"type":"NoteCreate","webhookId":"large-%d","body":"%s"}`, i, bytes.Repeat([]byte("x"), 1<<20-100))
	return ghlsender.Webhook{Body: body, ContentType: asJSON}
}

// anonymousMemory is what a process has written to, in bytes: what counts where memory is limited. Pages of its file can be dropped.
func anonymousMemory(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest + " 0")[0])
	if err != nil {
		return 0
	}
	return kilobytes << 10
}
