package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
)

// hanging returns the URL of a database whose connections hang after a number of answers, including the answer to the log-in.
func hanging(t *testing.T, url string, answers int) string {
	t.Helper()
	proxy, err := pgproxy.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxy.Close()) })
	proxy.HangAfter(answers)
	return proxy.URL()
}

// TestAHangingDatabaseEndsACommandWithTheReason uses connections that hang right after the log-in, or in the middle of the work.
func TestAHangingDatabaseEndsACommandWithTheReason(t *testing.T) {
	t.Parallel()
	type result struct {
		name, text string
		err        error
		took       time.Duration
	}
	results := make(chan result)
	started := 0
	for _, args := range []string{"migrate", "migrate --dry-run", "migrate status", "check"} {
		for _, answers := range []int{1, 2, 3, 8} {
			if args == "migrate status" && answers > 3 {
				continue // It asks fewer questions.
			}
			url := testenv.Postgres(t)
			execute(t, url, legacy.Tables+legacy.Rows)
			url, started = hanging(t, url, answers), started+1
			go func() { // In parallel, since each runs until its timeout.
				began := time.Now()
				out, err := run(t, []string{"DATABASE_URL=" + url}, strings.Fields(args)...)
				results <- result{fmt.Sprintf("%s, %d answers", args, answers), fmt.Sprint(out, err), err, time.Since(began)}
			}()
		}
	}
	for range started {
		r := <-results
		assert.Less(t, r.took, checkTimeout+10*time.Second, r.name)
		if assert.Error(t, r.err, r.name) {
			assert.Equal(t, exitFailure, exitCode(r.err), "%s: the failure is transient", r.name)
			assert.Contains(t, r.text, "no answer within ", r.name)
			assert.Contains(t, r.text, "pg_stat_activity", r.name)
		}
	}
}

func TestACheckOfAHangingDatabaseStillChecksTheOther(t *testing.T) {
	t.Parallel()
	began := time.Now()
	out, err := run(t, []string{"DATABASE_URL=" + migrated(t), "VERITY_DATABASE_URL=" + hanging(t, verityURL(t), 1)}, "check")
	require.Error(t, err)
	assert.Less(t, time.Since(began), checkTimeout+10*time.Second)
	assert.Regexp(t, `(?m)^verity +reachable +error +.*no answer within `, out)
	assert.Regexp(t, `(?m)^middleware +privileges +ok`, out)
}

func TestACheckReportsTheRestWhileTheVersionIsLocked(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	execute(t, url, "ALTER TABLE webhook_events ALTER status TYPE varchar(9)")
	testenv.LockTable(t, url, "verity_sync_schema_version", "ACCESS EXCLUSIVE")

	out, err := run(t, []string{"DATABASE_URL=" + url}, "check")
	require.Error(t, err)
	assert.Equal(t, exitPermanent, exitCode(err))
	assert.Regexp(t, `(?m)^middleware +reachable +ok`, out)
	assert.NotRegexp(t, `(?m)^middleware +reachable +error`, out)
	assert.Regexp(t, `(?m)^middleware +schema +error +the version of the schema cannot be read: .*lock`, out)
	assert.Regexp(t, `(?m)^middleware +columns +error +column status of table webhook_events: it holds 9 characters`, out)
	assert.Regexp(t, `(?m)^middleware +privileges +ok`, out)

	out, err = run(t, []string{"DATABASE_URL=" + url}, "migrate")
	require.ErrorContains(t, err, "read the schema version: ", out)
	assert.Equal(t, exitFailure, exitCode(err))
	assert.Contains(t, err.Error(), "no answer within 20s: ")
}
