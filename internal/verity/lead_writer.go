package verity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A statement uses a parameter once, even if two parameters have the same value: Postgres infers a parameter's type from the column next to
// it, and rejects a parameter that is both text and varchar.
//
// Times are not NOW(), the start of the transaction: that is before it acquired the lock, and can be before the times that the previous
// holder of the lock wrote.
const (
	// updateLeads precedes further columns to set, and ofContact.
	updateLeads = `UPDATE leads SET ghl_appointment_id = $2, last_activity_at = clock_timestamp()`
	ofContact   = ` WHERE contact_id = $1`
	// elsewhere excludes the leads that point at the appointment already.
	elsewhere = ` AND ghl_appointment_id IS DISTINCT FROM $%d`
	// notSpared are the leads that Spare does not protect.
	notSpared = ` AND (coalesce(ghl_appointment_id::text, '') = '' OR ghl_appointment_id::text = ANY ($%d::text[])
		OR last_activity_at::timestamptz < $%d::timestamptz)`
	countElsewhere = `SELECT count(*) FROM leads WHERE contact_id = $1 AND ghl_appointment_id::text <> $2`
	// countOthers counts the leads that do not point at the appointment, and those of them that Spare does not protect.
	countOthers = `SELECT count(*), count(*) FILTER (WHERE true%s) FROM leads
		WHERE contact_id = $1 AND ghl_appointment_id::text IS DISTINCT FROM $2`
	hasLead = `SELECT EXISTS (SELECT FROM leads WHERE contact_id = $1)`
	// insertLead inserts nothing if Verity has inserted a lead in the meantime, visible or found by a unique index.
	insertLead = `
		INSERT INTO leads (contact_id, ghl_appointment_id, created_at, last_activity_at%s)
		SELECT $1, $2, statement_timestamp(), statement_timestamp()%s
		WHERE NOT EXISTS (SELECT FROM leads WHERE contact_id = $3)`
	onConflict = ` ON CONFLICT DO NOTHING`
	// atEnded are the leads that point at an ended appointment.
	atEnded = ` AND ghl_appointment_id::text = ANY ($%d::text[])`
	// oneLead is the lead of a contact that gets the appointment if only one can: the one that points at it already, or else the one with
	// the latest activity, or else the one with the lowest id.
	oneLead = ` AND (%[1]s) IN (SELECT %[1]s FROM leads WHERE contact_id = $%[2]d%[4]s
		ORDER BY (ghl_appointment_id::text = $%[3]d) DESC NULLS LAST, last_activity_at DESC NULLS LAST, %[1]s LIMIT 1)`
	noLeadPoints = ` AND NOT EXISTS (SELECT FROM leads WHERE contact_id = $%d AND ghl_appointment_id::text = $%d)`
)

// errNoLead says that no lead of the contact can be updated, and none can be inserted.
var errNoLead = errors.New("the lead can be neither updated nor inserted: a unique index, a policy or a trigger forbids it")

// refusal ends a transaction whose write the table's definition forbids: nothing can be written for this contact.
type refusal struct {
	result Result
	// column is the column that must not be null and that an INSERT omitted, "" if the reason is another one.
	column string
}

func (r *refusal) Error() string { return r.result.Because }

// leadWriter updates the leads of one contact to what is desired, as far as the table allows.
type leadWriter struct {
	table     *table
	contactID string
	want      Desired
	// single is true after constraint has refused several leads with the same appointment.
	single     bool
	constraint string
}

// adapt changes w so that another transaction does not fail with err. It returns false if that is not possible.
func (w *leadWriter) adapt(err error) bool {
	if refused, ok := errors.AsType[*refusal](err); ok {
		column, found := w.table.columns[refused.column]
		if !found || !column.suppliable() || slices.Contains(w.table.supplied, column.name) {
			return false
		}
		w.table = w.table.supplying(column.name)
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || w.single || w.table.key == "" || pg.Code != "23505" && pg.Code != "23P01" { // unique_violation, exclusion_violation
		return false
	}
	w.single, w.constraint = true, pg.ConstraintName
	return true
}

// statement is SQL with its arguments, built part by part.
type statement struct {
	sql       string
	arguments []any
}

// add appends a part, in which each %d is the number of one of the further arguments.
func (s *statement) add(part string, arguments ...any) {
	numbers := make([]any, len(arguments))
	for i, argument := range arguments {
		s.arguments = append(s.arguments, argument)
		numbers[i] = len(s.arguments)
	}
	s.sql += fmt.Sprintf(part, numbers...)
}

func (s *statement) exec(ctx context.Context, tx pgx.Tx) (int64, error) {
	tag, err := tx.Exec(ctx, s.sql, s.arguments...)
	return tag.RowsAffected(), err
}

// update returns the statement that points all leads of the contact at an appointment, or at none if it is nil.
func (w *leadWriter) update(appointment *string) *statement {
	set := ""
	for _, name := range w.table.touched {
		set += fmt.Sprintf(", %s = clock_timestamp()", pgx.Identifier{name}.Sanitize())
	}
	return &statement{sql: updateLeads + set + ofContact, arguments: []any{w.contactID, appointment}}
}

// point points the leads of the contact at the desired appointment.
func (w *leadWriter) point(ctx context.Context, tx pgx.Tx) (Result, error) {
	result, err := w.pointOrInsert(ctx, tx)
	switch {
	case err != nil:
	case w.single:
		result.Constraint = w.constraint
		err = w.countOthers(ctx, tx, &result)
	case w.want.Spare != nil:
		err = tx.QueryRow(ctx, countElsewhere, w.contactID, w.want.AppointmentID).Scan(&result.Spared)
	}
	return result, err
}

func (w *leadWriter) countOthers(ctx context.Context, tx pgx.Tx, result *Result) error {
	arguments, condition := []any{w.contactID, w.want.AppointmentID}, ""
	if w.want.Spare != nil {
		arguments = append(arguments, w.notSparedAppointments(), w.want.Spare.BookedAt)
		condition = fmt.Sprintf(notSpared, 3, 4)
	}
	var others int64
	if err := tx.QueryRow(ctx, fmt.Sprintf(countOthers, condition), arguments...).Scan(&others, &result.Left); err != nil {
		return err
	}
	result.Spared = others - result.Left
	return nil
}

// notSparedAppointments are the appointments whose leads Spare does not protect.
func (w *leadWriter) notSparedAppointments() []string {
	return append([]string{w.want.AppointmentID}, w.want.Spare.Known...)
}

func (w *leadWriter) pointOrInsert(ctx context.Context, tx pgx.Tx) (Result, error) {
	update := w.pointStatement()
	updated, err := update.exec(ctx, tx)
	if err != nil || updated > 0 {
		return Result{Outcome: LeadUpdated, Leads: updated}, err
	}
	// From here on, the table is locked against a change of its policies.
	if err := checkVisible(ctx, tx, leadsTable); err != nil {
		return Result{}, err
	}
	inserted, err := w.insert(ctx, tx)
	if err != nil || inserted > 0 {
		return Result{Outcome: LeadInserted, Leads: inserted}, err
	}
	// There is a lead: Verity inserted it in the meantime, or it must not change.
	updated, err = update.exec(ctx, tx)
	switch {
	case err != nil || updated > 0:
		return Result{Outcome: LeadUpdated, Leads: updated}, err
	case w.want.Scope == OtherLeads || w.want.Spare != nil:
		return Result{Outcome: LeadUnchanged}, nil
	default:
		return Result{}, errNoLead
	}
}

// pointStatement returns the statement that points leads at the desired appointment.
func (w *leadWriter) pointStatement() *statement {
	s := w.update(&w.want.AppointmentID)
	if w.want.Scope == OtherLeads {
		s.add(elsewhere, w.want.AppointmentID)
	}
	spared := ""
	if w.want.Spare != nil {
		s.add(notSpared, w.notSparedAppointments(), w.want.Spare.BookedAt)
		spared = fmt.Sprintf(notSpared, len(s.arguments)-1, len(s.arguments))
	}
	if w.single {
		w.addOneLead(s, w.want.AppointmentID, spared)
	}
	return s
}

// addOneLead restricts s to one of the leads for which the conditions are true.
func (w *leadWriter) addOneLead(s *statement, appointment, conditions string) {
	s.arguments = append(s.arguments, w.contactID, appointment)
	s.sql += fmt.Sprintf(oneLead, w.table.key, len(s.arguments)-1, len(s.arguments), conditions)
}

// insert inserts a lead for a contact that has none, with the columns that it must supply.
func (w *leadWriter) insert(ctx context.Context, tx pgx.Tx) (int64, error) {
	if column := w.table.unsuppliable; column != "" {
		var exists bool
		if err := tx.QueryRow(ctx, hasLead, w.contactID).Scan(&exists); err != nil || exists {
			return 0, err
		}
		return 0, notInsertable(column)
	}
	var names, values strings.Builder
	arguments := []any{w.contactID, w.want.AppointmentID, w.contactID}
	for _, name := range w.table.supplied {
		names.WriteString(", " + pgx.Identifier{name}.Sanitize())
		if w.table.columns[name].isTime() {
			values.WriteString(", statement_timestamp()")
			continue
		}
		id, err := uuid.NewRandom()
		if err != nil {
			return 0, err
		}
		arguments = append(arguments, id.String())
		fmt.Fprintf(&values, ", $%d", len(arguments))
	}
	sql := fmt.Sprintf(insertLead, names.String(), values.String())
	if !w.table.plainInsert {
		sql += onConflict
	}
	inserted, err := tx.Exec(ctx, sql, arguments...)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == notNull {
		return 0, notInsertable(pg.ColumnName)
	}
	return inserted.RowsAffected(), err
}

// notNull is the SQLSTATE of a NULL in a column that must not be null.
const notNull = "23502"

func notInsertable(column string) error {
	return &refusal{column: column, result: Result{
		Outcome: LeadNotInsertable,
		Because: fmt.Sprintf("the contact has no lead, and none can be inserted: "+
			"column %s of leads must not be null and has no default", column),
	}}
}

// leaveEnded points the leads of the contact that point at an ended appointment at the live one, or at none.
func (w *leadWriter) leaveEnded(ctx context.Context, tx pgx.Tx) (Result, error) {
	if len(w.want.Ended) == 0 {
		return Result{Outcome: LeadUnchanged}, nil
	}
	outcome, live := LeadCleared, (*string)(nil)
	if w.want.AppointmentID != "" {
		outcome, live = LeadUpdated, &w.want.AppointmentID
	}
	var moved int64
	if w.single && live != nil {
		var err error
		if moved, err = w.moveOne(ctx, tx); err != nil {
			return Result{}, err
		}
		if live = nil; moved == 0 {
			outcome = LeadCleared
		}
	}
	s := w.update(live)
	s.add(atEnded, w.want.Ended)
	changed, err := s.exec(ctx, tx)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == notNull && pg.ColumnName == appointmentColumn {
		return Result{}, &refusal{result: Result{
			Outcome: LeadUnchanged,
			Because: "the contact's lead still points at an appointment that has ended: " +
				"column ghl_appointment_id of leads must not be null",
		}}
	}
	if err != nil {
		return Result{}, err
	}
	if changed += moved; changed == 0 {
		return Result{Outcome: LeadUnchanged}, checkVisible(ctx, tx, leadsTable)
	}
	return Result{Outcome: outcome, Leads: changed}, nil
}

// moveOne points one of the leads that point at an ended appointment at the live one, unless a lead of the contact already points at it.
func (w *leadWriter) moveOne(ctx context.Context, tx pgx.Tx) (int64, error) {
	s := w.update(&w.want.AppointmentID)
	s.add(atEnded, w.want.Ended)
	w.addOneLead(s, w.want.AppointmentID, fmt.Sprintf(atEnded, len(s.arguments)))
	s.add(noLeadPoints, w.contactID, w.want.AppointmentID)
	return s.exec(ctx, tx)
}
