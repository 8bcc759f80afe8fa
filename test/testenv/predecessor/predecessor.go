// Package predecessor is the database of the earlier middleware as it was left behind, for tests.
package predecessor

import _ "embed"

// Tables is the SQL that makes its tables.
//
//go:embed tables.sql
var Tables string

// Rows is the SQL of a few rows: of webhook_events in every status and in those that it should not have, of which the first two are one
// delivery that was stored twice; and of the other tables.
//
//go:embed rows.sql
var Rows string
