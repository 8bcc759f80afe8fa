package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// bounded bounds every statement by a timeout on the client. statement_timeout does not cover a half-open connection, and
// some callers have no deadline.
type bounded struct {
	pool    *database.Pool
	timeout time.Duration
}

// Exec implements dbsqlc.DBTX.
func (b bounded) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	return b.pool.Exec(ctx, sql, args...)
}

// Query implements dbsqlc.DBTX.
func (b bounded) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	rows, err := b.pool.Query(ctx, sql, args...)
	if err != nil {
		cancel()
		return nil, err
	}
	return boundedRows{rows, cancel}, nil
}

// QueryRow implements dbsqlc.DBTX.
func (b bounded) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	return boundedRow{b.pool.QueryRow(ctx, sql, args...), cancel}
}

type boundedRows struct {
	pgx.Rows
	cancel context.CancelFunc
}

// Close implements pgx.Rows.
func (r boundedRows) Close() {
	r.Rows.Close()
	r.cancel()
}

type boundedRow struct {
	row    pgx.Row
	cancel context.CancelFunc
}

// Scan implements pgx.Row.
func (r boundedRow) Scan(dest ...any) error {
	defer r.cancel()
	return r.row.Scan(dest...)
}
