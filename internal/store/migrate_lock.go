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
	// migrationConns is one connection for the lock and one for the migration.
	migrationConns = 2
	// lockPeriod is how often a migration tries to acquire the lock, and how often it checks its lock.
	lockPeriod = time.Second
	// migrationLockTimeout is how long a migration waits for others.
	migrationLockTimeout = 30 * time.Minute
)

// errLockLost means that the connection with the lock is lost, so that another migration may run.
var errLockLost = errors.New("the migration lost its lock and was stopped: run it again")

// errNotAlive means that the database stopped answering during a query without a timeout.
var errNotAlive = errors.New("the database stopped answering")

// migrationDB is the database of a migration, as a database/sql.DB, which goose needs.
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
// The lock belongs to a transaction: behind a pooler, a session's lock would stay on a connection that others use. It polls, since a
// statement that waits for the lock has a snapshot, and CREATE INDEX CONCURRENTLY waits for the end of snapshots.
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
		_ = tx.Rollback(ending) // It has written nothing.
	}
	if err := acquireLock(ctx, tx); err != nil {
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

func acquireLock(ctx context.Context, tx pgx.Tx) error {
	waiting, cancel := context.WithTimeout(ctx, migrationLockTimeout)
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

// migrationLock is the key of a schema's lock. Migrations of different schemas do not wait for each other.
func migrationLock(schema string) int64 {
	sum := sha256.Sum256([]byte("verity-sync migrate " + schema))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // All 64 bits are wanted.
}

// keepAlive pings a database every second. It returns when ctx ends, or the reason why the database is lost. In a transaction, it also
// keeps poolers from ending the transaction because it is idle.
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

// whileAlive runs f, which may take long, and stops it when the database stops answering on another connection.
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

// lockLost returns why a migration that ran in ctx lost its lock, or nil.
func lockLost(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errLockLost) {
		return err
	}
	return nil
}
