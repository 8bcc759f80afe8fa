package receiver_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func TestHeadersMustArriveWithinFiveSeconds(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		started := time.Now()
		slow := b.open(t, "POST /api/webhooks/ghl HTTP/1.1\r\nHost: x\r\n")
		slow.assertClosed(t)
		assert.Equal(t, 5*time.Second, time.Since(started))
	})
}

func TestABodyMustArriveWithinTenSeconds(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"that says its size": requestText("POST", ghl.Path, secret, workflow)[:len(webhook)-1],
		"in chunks":          requestText("POST", ghl.Path, with(secret, "Transfer-Encoding", "chunked"), "5\r\n{\"a\":"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(t *testing.T, b *bubble) {
				started := time.Now()
				slow := b.open(t, request)
				got := slow.answer(t)
				assert.Equal(t, 10*time.Second, time.Since(started))
				assert.Equal(t, 429, got.code, "a network that is slow today may be fast tomorrow")
				assert.Equal(t, "close", got.header.Get("Connection"))
				slow.assertClosed(t)
				assert.Empty(t, b.recorder.stored())
			})
		})
	}
}

func TestOtherAnswersDoNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		request string
		code    int
	}{
		"another path":    {"POST /elsewhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 404},
		"another method":  {"PUT /api/webhooks/ghl HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 405},
		"a body too long": {"POST /api/webhooks/ghl HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", 413},
		"no bearer":       {"POST /api/jobs/process-pending HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, nil, func(t *testing.T, b *bubble) {
				started := time.Now()
				assert.Equal(t, tc.code, b.open(t, tc.request).answer(t).code)
				assert.Zero(t, time.Since(started))
			})
		})
	}
}

func TestAnIdleConnectionIsKeptForTheIdleTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ configured, kept time.Duration }{
		"a minute by default":                         {0, time.Minute},
		"longer than a load balancer with 10 minutes": {620 * time.Second, 620 * time.Second},
		"shorter": {5 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(f *environment) { f.config.IdleTimeout = tc.configured }, func(t *testing.T, b *bubble) {
				conn := b.open(t, webhook)
				require.Equal(t, 200, conn.answer(t).code)
				time.Sleep(tc.kept - time.Second)
				_, err := conn.Write([]byte(webhook))
				require.NoError(t, err)
				require.Equal(t, 200, conn.answer(t).code, "the deadline of the first body is over")
				started := time.Now()
				conn.assertClosed(t)
				assert.Equal(t, tc.kept, time.Since(started))
			})
		})
	}
}

func TestAConnectionIsClosedIfItsClientReadsNoAnswer(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		started := time.Now()
		deaf := b.open(t, webhook)
		synctest.Wait()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		deaf.assertClosed(t)
		assert.Equal(t, 20*time.Second, time.Since(started))
		assert.Len(t, b.recorder.stored(), 1)
	})
}

func TestACommitMustEndWithinThreeSeconds(t *testing.T) {
	t.Parallel()
	hang := func(f *environment) {
		f.recorder.before = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	inBubble(t, hang, func(t *testing.T, b *bubble) {
		started := time.Now()
		got := b.deliver(t)
		assert.Equal(t, 3*time.Second, time.Since(started))
		assert.Equal(t, 429, got.code)
		assert.Equal(t, notNow, got.body)
	})
}

func TestAnEventIsStoredEvenIfItsSenderClosesTheConnection(t *testing.T) {
	t.Parallel()
	var gone chan struct{}
	wait := func(f *environment) {
		gone = make(chan struct{})
		f.recorder.before = func(ctx context.Context) error {
			<-gone
			return ctx.Err()
		}
	}
	inBubble(t, wait, func(t *testing.T, b *bubble) {
		conn := b.open(t, webhook)
		synctest.Wait()
		require.NoError(t, conn.Close())
		synctest.Wait()
		close(gone)
		synctest.Wait()
		assert.Len(t, b.recorder.stored(), 1)
	})
}

func TestHalfABodyIsNotStored(t *testing.T) {
	t.Parallel()
	inBubble(t, nil, func(t *testing.T, b *bubble) {
		conn := b.open(t, webhook[:len(webhook)-10])
		require.NoError(t, conn.Close())
		synctest.Wait()
		assert.Empty(t, b.recorder.stored())
		assert.Equal(t, 1, b.counted(t, "verity_sync_webhook_requests_total", "429"))
	})
}

func TestOverloadIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	var release chan struct{}
	var lines *logLines
	one := func(f *environment) {
		release, lines = make(chan struct{}), f.capture()
		f.config.MaxInFlight = 1
		f.recorder.before = func(ctx context.Context) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	inBubble(t, one, func(t *testing.T, b *bubble) {
		first := b.open(t, webhook)
		synctest.Wait()
		started := time.Now()
		got := b.deliver(t)
		assert.Equal(t, 429, got.code)
		assert.Equal(t, notNow, got.body)
		assert.Equal(t, "30", got.header.Get("Retry-After"))
		assert.Zero(t, time.Since(started))
		synctest.Wait()
		assert.Len(t, lines.with("as many webhooks are in flight as --max-in-flight allows"), 1, "the log says which limit is reached")

		close(release)
		assert.Equal(t, 200, first.answer(t).code)
		assert.Equal(t, 200, b.deliver(t).code, "its slot is free again")
	})
}

func TestSlowSendersTakeNoSlot(t *testing.T) {
	t.Parallel()
	one := func(f *environment) { f.config.MaxInFlight = 1 }
	inBubble(t, one, func(t *testing.T, b *bubble) {
		for range 20 {
			b.open(t, webhook[:len(webhook)-1])
		}
		synctest.Wait()
		assert.Equal(t, 200, b.deliver(t).code)
	})
}

func TestBodiesShareABoundedMemory(t *testing.T) {
	t.Parallel()
	var lines *logLines
	inBubble(t, func(f *environment) { lines = f.capture() }, func(t *testing.T, b *bubble) {
		// All but the last byte of 64 MiB.
		large := requestText("POST", ghl.Path, secret, strings.Repeat(" ", 1<<20))
		for range 63 {
			b.open(t, large[:len(large)-1])
		}
		last := b.open(t, large[:len(large)-10])
		synctest.Wait()
		assert.Equal(t, 429, b.deliver(t).code)
		synctest.Wait()
		assert.Len(t, lines.with("the memory for bodies is used up"), 1, "the log says which limit is reached")

		require.NoError(t, last.Close())
		synctest.Wait()
		assert.Equal(t, 200, b.deliver(t).code, "its memory is free again")
	})
}

func TestTheLogWarnsEveryMinuteThatAnyoneMaySend(t *testing.T) {
	t.Parallel()
	var lines *logLines
	open := func(f *environment) {
		lines = f.capture()
		f.config.WarnUnauthenticated = true
	}
	inBubble(t, open, func(t *testing.T, _ *bubble) {
		for minute := range 5 {
			synctest.Wait()
			assert.Len(t, lines.with("ALLOW_UNAUTHENTICATED"), minute+1)
			time.Sleep(time.Minute)
		}
	})
}

func TestRefusalsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	var lines *logLines
	inBubble(t, func(f *environment) { lines = f.capture() }, func(t *testing.T, b *bubble) {
		refused := requestText("POST", ghl.Path, asJSON, workflow)
		for range 1000 {
			conn := b.open(t, refused)
			require.Equal(t, 401, conn.answer(t).code)
			require.NoError(t, conn.Close()) // So many are not kept.
			synctest.Wait()
		}
		synctest.Wait()
		assert.Len(t, lines.with("unauthenticated"), 5)

		time.Sleep(10 * time.Second)
		require.Equal(t, 401, b.open(t, refused).answer(t).code)
		synctest.Wait()
		assert.Len(t, lines.with(`"suppressed":995`), 1, "the others are counted")

		time.Sleep(10 * time.Second)
		require.Equal(t, 401, b.open(t, refused).answer(t).code)
		synctest.Wait()
		assert.Len(t, lines.with(`"suppressed":995`), 1, "once")
		assert.Equal(t, 1002, b.counted(t, "verity_sync_webhook_requests_total", "401"))

		require.Equal(t, 405, b.open(t, "GET /api/webhooks/ghl HTTP/1.1\r\nHost: x\r\n\r\n").answer(t).code)
		synctest.Wait()
		assert.Len(t, lines.with(`"outcome":"method"`), 1, "one kind does not hide another")
	})
}
