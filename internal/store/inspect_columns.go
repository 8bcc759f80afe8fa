package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// checkColumns checks the columns that the legacy middleware created. Earlier releases adopted columns that are too short.
const checkColumns = "columns"

// inspectColumns finds columns that cannot hold the values that a process stores.
func inspectColumns(ctx context.Context, pool *database.Pool, process Process) ([]preflight.Finding, error) {
	columns, err := readColumnsOf(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	tables, _ := needsOf(process)
	var findings []preflight.Finding
	for _, want := range legacyColumns {
		i := slices.IndexFunc(columns, func(c foundColumn) bool { return c.table == want.table && c.name == want.name })
		if i < 0 || !slices.Contains(tables, want.table) {
			continue
		}
		for _, o := range want.obstacles(columns[i]) {
			severity, consequence := preflight.Warning, "an event with such a value is not processed"
			if n := columns[i].length; n > 0 && n < want.usual {
				severity = preflight.Error
				_, consequence = consequenceOf(want.table, "", process)
			}
			findings = append(findings, newFinding(severity, checkColumns,
				fmt.Sprintf("%s: %s: %s", o.Object, o.Problem, consequence), "run "+o.Statements[0]))
		}
	}
	if len(findings) == 0 {
		findings = append(findings, newFinding(preflight.OK, checkColumns, "the columns hold what "+process.stores(), ""))
	}
	return findings, nil
}

func readColumnsOf(ctx context.Context, pool *database.Pool) ([]foundColumn, error) {
	db := stdlib.OpenDBFromPool(pool.Pool)
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // Nothing was changed.
	return readLegacyColumns(ctx, tx)
}

// stores names the processes, as the subject of "store".
func (p Process) stores() string {
	return [...]string{"receivers and controllers store", "a receiver stores", "a controller stores", "the migration stores"}[p]
}
