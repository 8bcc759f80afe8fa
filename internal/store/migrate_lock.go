package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

const (
	// migrationConns are two: the lock's, and the one that migrates.
	migrationConns = 2
	// lockPeriod is how often a lock that another migration has is tried again, and one's own is looked after.
	lockPeriod = time.Second
	// lockPatience is how long a migration waits for others.
	lockPatience = 30 * time.Minute
)

// errLockLost says that the connection that holds the lock is gone, so that another migration may run.
var errLockLost = errors.New("the migration lock is lost, and the migration was stopped: run it again")

// errNotAlive says that the database stopped to answer while something was read.
var errNotAlive = errors.New("the database does not answer any more")

// migrationDB is the database of a migration, by way of database/sql, as goose wants it.
type migrationDB struct {
	*sql.DB
	pool *database.Pool
}

func openMigration(ctx context.Context, url string) (*migrationDB, error) {
	pool, err := database.Open(ctx, url, database.Options{
		Name: "verity-sync migrate", MinMaxConns: migrationConns, ConnectTimeout: connectTimeout, Probed: sessionSettings(),
	})
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	return &migrationDB{DB: stdlib.OpenDBFromPool(pool.Pool), pool: pool}, nil
}

// Close closes every connection.
func (db *migrationDB) Close() error {
	err := db.DB.Close()
	db.pool.Close()
	return err
}

// lockMigration waits until no other migration of the schema runs. The context that it returns ends when the lock is lost.
//
// The lock is a transaction's: through a pooler, a session's would stay on a connection that others use. It is tried and not
// waited for, since a statement that waits has a snapshot, for whose end CREATE INDEX CONCURRENTLY waits in turn.
func lockMigration(ctx context.Context, db *migrationDB) (context.Context, func(), error) {
	var tx pgx.Tx
	err := database.Within(ctx, answerTimeout, func(ctx context.Context) (err error) {
		tx, err = db.pool.Begin(ctx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	rollback := func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = tx.Rollback(ending) // Nothing was written in it.
	}
	if err := takeLock(ctx, tx); err != nil {
		rollback()
		return nil, nil, err
	}
	held, stop := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { stop(keepAlive(held, errLockLost, func(ctx context.Context) error { return ping(ctx, tx) })) })
	return held, func() {
		stop(nil)
		keeper.Wait()
		rollback()
	}, nil
}

func ping(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `SELECT 1`)
	return err
}

func takeLock(ctx context.Context, tx pgx.Tx) error {
	waiting, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		var taken bool
		err := database.Within(waiting, answerTimeout, func(ctx context.Context) error {
			var schema string
			if err := tx.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, migrationLock(schema)).Scan(&taken)
		})
		if err != nil || taken {
			return err
		}
		select {
		case <-waiting.Done():
			return waiting.Err()
		case <-time.After(lockPeriod):
		}
	}
}

// migrationLock is the lock of a schema: two schemas of one database have nothing to wait for.
func migrationLock(schema string) int64 {
	sum := sha256.Sum256([]byte("verity-sync migrate " + schema))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // All 64 bits are wanted.
}

// keepAlive asks a database every second whether it is there. It returns when ctx ends, or why the database is lost. For a transaction, it
// also keeps poolers from ending it because it is idle.
func keepAlive(ctx context.Context, lost error, ask func(context.Context) error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lockPeriod):
		}
		if err := database.Within(ctx, statementTimeout, ask); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%w: %w", lost, err)
		}
	}
}

// whileAlive runs f, which may take long, and stops it when the database does not answer on another connection any more.
func whileAlive(ctx context.Context, db *migrationDB, f func(context.Context) error) error {
	alive, stop := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { stop(keepAlive(alive, errNotAlive, db.pool.Ping)) })
	err := f(alive)
	lost := context.Cause(alive)
	stop(nil)
	keeper.Wait()
	if err != nil && errors.Is(lost, errNotAlive) {
		return errors.Join(err, lost)
	}
	return err
}

// lockLost returns why the lock was lost while a migration ran in ctx, nil where it was not.
func lockLost(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errLockLost) {
		return err
	}
	return nil
}
