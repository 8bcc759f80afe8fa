package proxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/bench/proxy"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func connect(t *testing.T, delay time.Duration) (*proxy.Proxy, *pgx.Conn) {
	t.Helper()
	url := testenv.Postgres(t)
	p, err := proxy.Start(t.Context(), url, delay)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	require.Equal(t, url, p.Direct(p.Through(url)))
	conn, err := pgx.Connect(t.Context(), p.Through(url))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return p, conn
}

func TestRoundTripsAreCountedHoweverLargeTheAnswers(t *testing.T) {
	t.Parallel()
	p, conn := connect(t, 0)
	before := p.Trips()
	for range 10 {
		_, err := conn.Exec(t.Context(), "SELECT 'Z', repeat('Z', 200000) FROM generate_series(1, 3)")
		require.NoError(t, err)
	}
	assert.Equal(t, int64(10), p.Trips()-before)

	before = p.Trips()
	batch := &pgx.Batch{}
	batch.Queue("SELECT 1")
	batch.Queue("SELECT 2")
	require.NoError(t, conn.SendBatch(t.Context(), batch).Close())
	assert.LessOrEqual(t, p.Trips()-before, int64(2), "what is sent together is answered together, once it is prepared")
}

func TestEveryAnswerIsLateByTheDelay(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	_, conn := connect(t, delay)
	began := time.Now()
	require.NoError(t, conn.Ping(t.Context()))
	assert.GreaterOrEqual(t, time.Since(began), delay)
}
