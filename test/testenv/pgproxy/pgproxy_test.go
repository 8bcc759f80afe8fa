package pgproxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// start returns a proxy to a database with an empty table, and a connection that does not go through it.
func start(t *testing.T) (*pgproxy.Proxy, *pgx.Conn) {
	t.Helper()
	url := testenv.Postgres(t)
	proxy, err := pgproxy.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxy.Close()) })
	direct := connect(t, url)
	_, err = direct.Exec(t.Context(), "CREATE TABLE things (n int)")
	require.NoError(t, err)
	return proxy, direct
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&n))
	return n
}

func TestACutConnectionHasCommittedAndItsClientHasNoAnswer(t *testing.T) {
	t.Parallel()
	proxy, direct := start(t)
	proxy.Cut(&pgproxy.Cut{Command: "INSERT"})

	through := connect(t, proxy.URL())
	assert.Equal(t, 0, count(t, through), "other commands pass")
	_, err := through.Exec(t.Context(), "INSERT INTO things VALUES (1)")
	require.Error(t, err)
	assert.Equal(t, 1, count(t, direct))
	assert.False(t, proxy.Cutting())

	_, err = connect(t, proxy.URL()).Exec(t.Context(), "INSERT INTO things VALUES (2)")
	require.NoError(t, err, "one cut was asked for")

	proxy.Cut(&pgproxy.Cut{Always: true})
	for range 2 {
		_, err = connect(t, proxy.URL()).Exec(t.Context(), "INSERT INTO things VALUES (3)")
		require.Error(t, err)
	}
	proxy.Cut(nil)
	assert.Equal(t, 4, count(t, connect(t, proxy.URL())))
}

func TestAHalfOpenConnectionIsSilentForEverAndANewOneIsNot(t *testing.T) {
	t.Parallel()
	proxy, _ := start(t)
	through := connect(t, proxy.URL())
	assert.Equal(t, 0, count(t, through))

	proxy.HalfOpen()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := pgx.Connect(short, proxy.URL())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	proxy.Heal()
	assert.Equal(t, 0, count(t, connect(t, proxy.URL())))

	short, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = through.Exec(short, "SELECT 1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAConnectionHangsAfterSoManyAnswers(t *testing.T) {
	t.Parallel()
	proxy, _ := start(t)
	proxy.HangAfter(2)
	for range 2 {
		through := connect(t, proxy.URL()) // The first answer is that to the log-in.
		_, err := through.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err = through.Exec(short, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	proxy.HangAfter(0)
	assert.Equal(t, 0, count(t, connect(t, proxy.URL())))
}

func TestRoundTripsAreCountedHoweverLargeTheAnswers(t *testing.T) {
	t.Parallel()
	proxy, _ := start(t)
	conn := connect(t, proxy.URL())
	before := proxy.Trips()
	for range 10 {
		_, err := conn.Exec(t.Context(), "SELECT 'Z', repeat('Z', 200000) FROM generate_series(1, 3)")
		require.NoError(t, err)
	}
	assert.Equal(t, int64(10), proxy.Trips()-before)

	before = proxy.Trips()
	batch := &pgx.Batch{}
	batch.Queue("SELECT 1")
	batch.Queue("SELECT 2")
	require.NoError(t, conn.SendBatch(t.Context(), batch).Close())
	assert.LessOrEqual(t, proxy.Trips()-before, int64(2), "what is sent together is answered together, once it is prepared")
}

func TestEveryAnswerIsLateByTheDelay(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	url := testenv.Postgres(t)
	proxy, err := pgproxy.NewDelayed(t.Context(), url, delay)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxy.Close()) })
	require.Equal(t, url, proxy.Direct(proxy.Through(url)))
	conn := connect(t, proxy.URL())
	began := time.Now()
	require.NoError(t, conn.Ping(t.Context()))
	assert.GreaterOrEqual(t, time.Since(began), delay)
}
