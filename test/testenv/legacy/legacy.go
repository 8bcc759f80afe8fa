// Package legacy has a database of the legacy middleware, for tests.
package legacy

import _ "embed"

// Tables is the SQL that creates its tables.
//
//go:embed tables.sql
var Tables string

// Rows is the SQL of a few rows: of webhook_events in every status, valid or not, of which the first two are one delivery that was stored
// twice; and of the other tables.
//
//go:embed rows.sql
var Rows string
