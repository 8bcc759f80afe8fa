package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// errReadOnly means that the database is read-only.
var errReadOnly = errors.New("the database is read-only: erase on the primary, with a role whose default_transaction_read_only is off")

// RightsError lists the privileges that the role of the connection lacks.
type RightsError struct{ Missing []error }

func (e *RightsError) Error() string { return errors.Join(e.Missing...).Error() }

// CheckEraseRights returns an error if the role lacks a privilege that an erasure needs. It changes nothing. SELECT FOR UPDATE needs
// UPDATE.
func (s *Store) CheckEraseRights(ctx context.Context) error {
	var readOnly bool
	if err := s.pool.QueryRow(ctx, `SELECT current_setting('transaction_read_only')::boolean`).Scan(&readOnly); err != nil {
		return s.wrap(err, "read whether the database is read-only")
	}
	if readOnly {
		return &RightsError{[]error{errReadOnly}}
	}
	rows, err := s.pool.Query(ctx, `
		SELECT quote_ident(current_user), to_regclass(n.tab)::text, n.privilege
		FROM (VALUES ('webhook_events', 'SELECT'), ('webhook_events', 'UPDATE'), ('sync_log', 'SELECT'),
			('sync_log', 'INSERT'), ('sync_log', 'UPDATE'),
		             ('contact_mappings', 'SELECT'), ('contact_mappings', 'DELETE'), ('appointments', 'SELECT'), ('appointments', 'UPDATE'),
		             ('appointments', 'DELETE'), ('controller_term', 'SELECT'), ('controller_term', 'UPDATE')) AS n (tab, privilege)
		WHERE NOT has_table_privilege(to_regclass(n.tab), n.privilege)
		  AND (n.privilege = 'DELETE' OR NOT (
		       SELECT bool_and(has_column_privilege(a.attrelid, a.attnum, n.privilege))
		       FROM pg_attribute a WHERE a.attrelid = to_regclass(n.tab) AND a.attnum > 0 AND NOT a.attisdropped))
		ORDER BY n.tab, n.privilege`)
	if err != nil {
		return s.wrap(err, "read the privileges")
	}
	var missing []error
	var me, table, privilege string
	_, err = pgx.ForEachRow(rows, []any{&me, &table, &privilege}, func() error {
		missing = append(missing, fmt.Errorf("the role %[1]s may not %[2]s %[3]s: run GRANT %[2]s ON %[3]s TO %[1]s", me, privilege, table))
		return nil
	})
	if err != nil {
		return s.wrap(err, "read the privileges")
	}
	if len(missing) > 0 {
		return &RightsError{missing}
	}
	return nil
}
