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

// Obstacle is something in a database that would make a migration fail, or verity-sync on the migrated database.
type Obstacle struct {
	// Object is what is in the way, in the words of pg_describe_object: "view recent_events".
	Object string
	// Problem says why.
	Problem string
	// Statements are the SQL that takes it out of the way, for whoever owns the object to run before the migration.
	Statements []string
	// Afterwards says what remains to be done after the migration; "" where nothing does.
	Afterwards string
}

// String has all of it in one line.
func (o Obstacle) String() string {
	text := o.Object + ": " + o.Problem
	if len(o.Statements) > 0 {
		text += ". Run: " + strings.Join(o.Statements, "; ")
	}
	if o.Afterwards != "" {
		text += ". Afterwards: " + o.Afterwards
	}
	return event.VisibleLine(text) // Names and definitions in it are those of the database.
}

// ObstructedError says that a database cannot be migrated as it is. Nothing was changed.
type ObstructedError struct {
	Obstacles []Obstacle
}

func (e *ObstructedError) Error() string {
	var text strings.Builder
	text.WriteString("the database cannot be migrated as it is. Nothing was changed. Resolve what follows, then migrate again:")
	for _, o := range e.Obstacles {
		text.WriteString("\n  " + o.String())
	}
	return text.String()
}

// checkObstacles returns an ObstructedError where something is in the way of the migrations that are pending. It only reads the
// catalog, so that it takes no lock that another process would notice.
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
			// Another migration may have run meanwhile: then what it has created was taken for an obstacle.
			if current, err := readVersion(ctx, db); err != nil || current == version {
				return cmp.Or(err, error(&ObstructedError{found}))
			}
		}
	})
	if _, obstructed := errors.AsType[*ObstructedError](err); err != nil && !obstructed {
		return fmt.Errorf("look for what is in the way of the migration: %w", err)
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
	defer tx.Rollback() //nolint:errcheck // It was only read.
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

// readVersion returns the version of the schema, 0 where nothing has been migrated.
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
