package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestBeatDetectsARolledBackDatabase(t *testing.T) {
	t.Parallel()
	early, late := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	for name, test := range map[string]struct {
		// had is the heartbeat of the database, known the latest one that was seen.
		had, known time.Time
		rolledBack bool
	}{
		"the first heartbeat of an installation":                  {time.Unix(0, 0), time.Time{}, false},
		"the database has the known heartbeat":                    {late, late, false},
		"the database has a later heartbeat than is known":        {late, early, false},
		"no heartbeat is known, as after a lease was deleted":     {late, time.Time{}, false},
		"the database has an earlier heartbeat than is known":     {early, late, true},
		"the database is earlier by the least that can be stored": {late.Add(-time.Microsecond), late, true},
		"the database had no heartbeats yet, and some are known":  {time.Unix(0, 0), late, true},
		"the known heartbeat is ahead of Postgres's clock":        {late, time.Now().Add(time.Hour), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			had, known := test.had.UTC().Truncate(time.Microsecond), test.known.UTC().Truncate(time.Microsecond)
			b.exec(`UPDATE controller_heartbeat SET beat_at = $1`, had)
			term, err := b.AcquireTerm(t.Context(), "one")
			require.NoError(t, err)

			beat, err := b.Beat(t.Context(), term, known)
			require.NoError(t, err)
			assert.Equal(t, test.rolledBack, beat.RolledBack)
			assert.True(t, beat.At.After(had) && beat.At.After(known), "%s is later than both", beat.At)
			stats, err := b.Stats(t.Context())
			require.NoError(t, err)
			if !test.rolledBack {
				assert.True(t, stats.RolledBackAt.Equal(time.Unix(0, 0)), "%s", stats.RolledBackAt)
				return
			}
			assert.Equal(t, had, beat.RolledBackTo)
			assert.WithinDuration(t, time.Now(), stats.RolledBackAt, time.Minute)
			assert.Equal(t, known, value[time.Time](b, `SELECT rolled_back_from FROM controller_heartbeat`).UTC())

			again, err := b.Beat(t.Context(), term, known)
			require.NoError(t, err)
			assert.True(t, again.RolledBack, "a repetition after a lost answer returns the same")
			assert.Equal(t, had, again.RolledBackTo)
			next, err := b.Beat(t.Context(), term, again.At)
			require.NoError(t, err)
			assert.False(t, next.RolledBack, "it is detected once")
			assert.True(t, next.At.After(again.At))
		})
	}
}

func TestBeatIsFenced(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	old, err := b.AcquireTerm(t.Context(), "one")
	require.NoError(t, err)
	now, err := b.AcquireTerm(t.Context(), "two")
	require.NoError(t, err)
	before := value[time.Time](b, `SELECT beat_at FROM controller_heartbeat`)
	for _, other := range []int64{old, now + 1, 0} {
		_, err = b.Beat(t.Context(), other, time.Now())
		require.ErrorIs(t, err, store.ErrFenced)
	}
	assert.Equal(t, before, value[time.Time](b, `SELECT beat_at FROM controller_heartbeat`))
}

// A leader that was paused before a rollback of the database still has a term that the database could issue again.
func TestNoTermIsIssuedTwiceAfterARollbackOfTheDatabase(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	seen := map[int64]bool{}
	var last int64
	for range 5 {
		b.exec(`UPDATE controller_term SET term = 7`) // As it was before.
		for range 3 {
			term, err := b.AcquireTerm(t.Context(), "one")
			require.NoError(t, err)
			assert.False(t, seen[term], "%d", term)
			assert.Greater(t, term, last)
			seen[term], last = true, term
		}
	}
	b.exec(`UPDATE controller_term SET term = term + 3600000000`) // The clock has been set back by an hour since.
	ahead := value[int64](b, `SELECT term FROM controller_term`)
	term, err := b.AcquireTerm(t.Context(), "one")
	require.NoError(t, err)
	assert.Equal(t, ahead+1, term)
}
