package verity

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/destination"
)

// readOnly is the SQLSTATE of a write to a read-only server, for example after a failover.
const readOnly = "25006"

// failure classifies an error of Verity's database. If the server has become read-only, failure resets the pool: its connections would
// otherwise stay with that server although another one is the primary now.
func (l *Leads) failure(err error) error {
	failed := databaseError(err)
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok && !errors.Is(err, context.Canceled) {
		// A connection that cannot be established says nothing about the event.
		failed.Class = destination.Unavailable
		failed.Message = "cannot connect: " + failed.Message
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == readOnly {
		l.pool.Reset()
	}
	if failed.Class == destination.Unavailable {
		l.discardDefinition()
	}
	return failed
}

func databaseError(err error) *destination.Error {
	failed := &destination.Error{Destination: DatabaseDestination, Err: err}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		failed.Class, failed.Message = classOfState(pg.Code), describeState(pg)
		return failed
	}
	if errors.Is(err, database.ErrUnusable) {
		failed.Class, failed.Message = destination.Unavailable, err.Error()
		return failed
	}
	if _, ok := errors.AsType[*hiddenError](err); ok {
		failed.Class, failed.Message = destination.Unavailable, err.Error()
		return failed
	}
	if errors.Is(err, errNoLead) {
		failed.Class, failed.Message = destination.Permanent, err.Error()
		return failed
	}
	return destination.FromTransport(DatabaseDestination, err)
}

// classOfState returns the class of an SQLSTATE. An SQLSTATE that is not listed is transient: a deadlock, a timeout, a lost connection or a
// restart, for instance.
func classOfState(code string) destination.Class {
	switch code {
	case "23503": // foreign_key_violation: the row that is referred to may be written soon, or was just deleted.
		return destination.Transient
	case readOnly,
		"0A000", "55000", // A view that cannot be updated, or a rule: the statement fails for every event.
		"08001", "08004", "08P01", // the server refuses connections, or a proxy speaks another protocol
		"57P03", "57P04": // cannot_connect_now, database_dropped
		return destination.Unavailable
	}
	switch class := code[:min(2, len(code))]; class {
	case "21", "22", "23", "27", "44", "P0": // the data does not fit, or a constraint or a trigger refuses it
		return destination.Permanent
	case "28", "3D", "3F", "42", "53", "58": // login, database, schema, table, column, privilege; disk, memory, connections
		return destination.Unavailable
	default:
		return destination.Transient
	}
}

// schemaOnly are the classes of SQLSTATE whose messages contain only names of the schema and of settings.
var schemaOnly = []string{"08", "25", "3D", "3F", "40", "42", "53", "55", "57"}

// describeState describes an error of the server. It repeats the server's message only if that cannot contain a value; messages of data
// errors and of triggers can. It omits Detail and Hint for the same reason.
func describeState(pg *pgconn.PgError) string {
	switch class := pg.Code[:min(2, len(pg.Code))]; {
	case class == "23" && pg.ConstraintName != "":
		return fmt.Sprintf("constraint %s of %s is violated (SQLSTATE %s)", pg.ConstraintName, pg.TableName, pg.Code)
	case class == "23" && pg.ColumnName != "":
		return fmt.Sprintf("column %s of %s must not be null (SQLSTATE %s)", pg.ColumnName, pg.TableName, pg.Code)
	case class == "28": // Some of these name the address of the client, which changes.
		return fmt.Sprintf("the login is refused (SQLSTATE %s)", pg.Code)
	case pg.Routine == "exec_stmt_raise": // RAISE can choose any SQLSTATE.
		return fmt.Sprintf("a trigger refuses the change (SQLSTATE %s)", pg.Code)
	case slices.Contains(schemaOnly, class):
		return fmt.Sprintf("%s (SQLSTATE %s)", pg.Message, pg.Code)
	default:
		return fmt.Sprintf("the statement is refused (SQLSTATE %s)", pg.Code)
	}
}
