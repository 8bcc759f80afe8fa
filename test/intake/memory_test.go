package intake_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/sim/ghlsender"
)

// TestAFloodIsAnswered429WhereThereIsLittleMemory is not parallel: it changes one of the receivers, and locks the table of all.
func TestAFloodIsAnswered429WhereThereIsLittleMemory(t *testing.T) {
	const memory = 128 << 20
	receiver := middleware.Receivers[1]
	receiver.Env["GOMEMLIMIT"] = strconv.Itoa(memory / 100 * 90) // As it is set in a container that may use so much.
	require.NoError(t, receiver.Restart(t.Context()))
	defer func() {
		delete(receiver.Env, "GOMEMLIMIT")
		require.NoError(t, receiver.Restart(t.Context()))
	}()
	pid := receiver.PID()
	ctx, stop := context.WithCancel(t.Context())
	most := make(chan int, 1)
	go func() {
		peak := 0
		for ctx.Err() == nil {
			peak = max(peak, anonymousMemory(pid))
			time.Sleep(5 * time.Millisecond) // How often it is looked at.
		}
		most <- peak
	}()

	unlock := sync.OnceFunc(lockTable(t)) // Bodies stay where they are.
	defer unlock()
	var posting sync.WaitGroup
	for i := range 200 {
		posting.Go(func() {
			answer, err := middleware.Post(t.Context(), receiver, large(i))
			assert.NoError(t, err)
			assert.Equal(t, http.StatusTooManyRequests, answer.Status)
		})
	}
	posting.Wait()
	unlock()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		answer, err := middleware.Post(t.Context(), receiver, large(0))
		require.NoError(c, err)
		assert.Equal(c, http.StatusOK, answer.Status, "one body always fits")
	}, eventually, tick)
	stop()
	peak := <-most
	t.Logf("%d MiB of %d MiB", peak>>20, memory>>20)
	require.Positive(t, peak)
	assert.Less(t, peak, memory)
	assert.Equal(t, pid, receiver.PID())
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
