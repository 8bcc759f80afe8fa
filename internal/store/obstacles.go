package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Obstacle is an object of a database with which a migration would fail, or verity-sync after it.
type Obstacle struct {
	// Object is the object as pg_describe_object describes it: "view recent_events".
	Object string
	// Problem is the reason.
	Problem string
	// Statements are SQL that resolves it. The owner of the object must run them before the migration.
	Statements []string
	// Afterwards is what to do after the migration; empty if there is nothing to do.
	Afterwards string
}

// String returns the obstacle on one line.
func (o Obstacle) String() string {
	text := o.Object + ": " + o.Problem
	if len(o.Statements) > 0 {
		text += ". Run: " + strings.Join(o.Statements, "; ")
	}
	if o.Afterwards != "" {
		text += ". Afterwards: " + o.Afterwards
	}
	return event.VisibleLine(text) // Names and definitions in it come from the database.
}

// ObstructedError means that a database has obstacles to its migration. Nothing was changed.
type ObstructedError struct {
	Obstacles []Obstacle
}

func (e *ObstructedError) Error() string {
	var text strings.Builder
	text.WriteString("the database has obstacles to the migration. Nothing was changed. Resolve them, then migrate again:")
	for _, o := range e.Obstacles {
		text.WriteString("\n  " + o.String())
	}
	return text.String()
}

// checkObstacles returns an ObstructedError if there are obstacles to the pending migrations. It only reads the catalog, and takes no lock
// that blocks another process.
func checkObstacles(ctx context.Context, db *sql.DB, provider *goose.Provider) error {
	err := database.Within(ctx, answerTimeout, func(ctx context.Context) error {
		for {
			version, err := readVersion(ctx, db)
			if err != nil {
				return err
			}
			found, err := findObstacles(ctx, db, provider, version)
			if err != nil || len(found) == 0 {
				return err
			}
			// Another migration may have run meanwhile. Objects that it created are not obstacles.
			if current, err := readVersion(ctx, db); err != nil || current == version {
				return cmp.Or(err, error(&ObstructedError{found}))
			}
		}
	})
	if _, obstructed := errors.AsType[*ObstructedError](err); err != nil && !obstructed {
		return fmt.Errorf("look for obstacles to the migration: %w", err)
	}
	return err
}

func findObstacles(ctx context.Context, db *sql.DB, provider *goose.Provider, version int64) ([]Obstacle, error) {
	pending, err := planAfter(provider, version)
	if err != nil || pending.empty() {
		return nil, err
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // Nothing was changed.
	checks := []func(context.Context, *sql.Tx, plan) ([]Obstacle, error){privilegeObstacles, nameObstacles, rowTypeObstacles}
	if version == 0 {
		checks = append(checks, tableObstacles, columnObstacles, keyObstacles, constraintObstacles, payloadObstacles)
	}
	var found []Obstacle
	for _, check := range checks {
		obstacles, err := check(ctx, tx, pending)
		if err != nil {
			return nil, err
		}
		found = append(found, obstacles...)
	}
	return found, nil
}

// readVersion returns the version of the schema, 0 before the first migration.
func readVersion(ctx context.Context, db *sql.DB) (int64, error) {
	var version int64
	if err := db.QueryRowContext(ctx, versionQuery).Scan(&version); err != nil && sqlState(err) != undefinedTable {
		return 0, fmt.Errorf("read the schema version: %w", err)
	}
	return version, nil
}

// rowsOf collects the rows of a query.
func rowsOf[T any](ctx context.Context, tx *sql.Tx, scan func(*sql.Rows) (T, error), query string, args ...any,
) (found []T, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}
