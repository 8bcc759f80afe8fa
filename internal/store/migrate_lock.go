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

// migrationDB is the database of a migration, by way of database/sql, as goose wants it.
type migrationDB struct {
	*sql.DB
	pool *database.Pool
}

func openMigration(ctx context.Context, url string) (*migrationDB, error) {
	pool, err := database.Open(ctx, url, database.Options{
		Name: "verity-sync migrate", MinMaxConns: migrationConns, ConnectTimeout: connectTimeout,
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
	tx, err := db.pool.Begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	rollback := func() { _ = tx.Rollback(context.WithoutCancel(ctx)) } // Nothing was written in it.
	if err := takeLock(ctx, tx); err != nil {
		rollback()
		return nil, nil, err
	}
	held, stop := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { stop(keepLock(held, tx)) })
	return held, func() {
		stop(nil)
		keeper.Wait()
		rollback()
	}, nil
}

func takeLock(ctx context.Context, tx pgx.Tx) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	var schema string
	if err := tx.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return err
	}
	key := migrationLock(schema)
	for {
		var taken bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, key).Scan(&taken); err != nil || taken {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPeriod):
		}
	}
}

// migrationLock is the lock of a schema: two schemas of one database have nothing to wait for.
func migrationLock(schema string) int64 {
	sum := sha256.Sum256([]byte("verity-sync migrate " + schema))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // All 64 bits are wanted.
}

// keepLock returns when ctx ends, or why the lock is lost. It also keeps poolers from ending a transaction that is idle.
func keepLock(ctx context.Context, tx pgx.Tx) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lockPeriod):
		}
		asking, cancel := context.WithTimeout(ctx, statementTimeout)
		_, err := tx.Exec(asking, `SELECT 1`)
		cancel()
		if err != nil {
			return fmt.Errorf("%w: %w", errLockLost, err)
		}
	}
}

// lockLost returns why the lock was lost while a migration ran in ctx, nil where it was not.
func lockLost(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, errLockLost) {
		return err
	}
	return nil
}
