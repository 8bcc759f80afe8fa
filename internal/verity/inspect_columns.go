package verity

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// contactColumns are the columns of contacts that verity-sync reads.
var contactColumns = []string{"id", "phone_e164", "email"}

func (i *inspection) missingColumns() error {
	for _, r := range []struct {
		*relation
		needed []string
	}{{i.contacts, contactColumns}, {i.leads, written}} {
		var missing []string
		for _, name := range r.needed {
			if _, found := r.columns[name]; !found {
				missing = append(missing, name)
			}
		}
		if missing == nil {
			continue
		}
		action := "add the columns, or give verity-sync a view with these names"
		for _, found := range slices.Sorted(maps.Keys(r.columns)) {
			for _, name := range missing {
				if found != name && normalizeName(found) == normalizeName(name) {
					action = fmt.Sprintf("%s has a column %s: give verity-sync a view in which it is called %s",
						r.name, database.Quote(found), name)
				}
			}
		}
		i.add(preflight.Error, action, "%s.%s has no column %s: appointment events wait", r.schema, r.name,
			preflight.InWords(missing))
	}
	return nil
}

// normalizeName returns the same for all spellings of a name: contactId and contact_id.
func normalizeName(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "") }

func (i *inspection) columnTypes() error {
	for _, check := range []func(){i.typesOfContacts, i.typeOfContactID, i.typeOfAppointment, i.typesOfTimes, i.computedColumns} {
		check()
	}
	return nil
}

// column returns a column of a table, false if there is none. CheckColumns reports missing columns.
func (r *relation) column(name string) (column, bool) {
	c, found := r.columns[name]
	return c, found
}

func (i *inspection) typesOfContacts() {
	for _, name := range contactColumns[1:] {
		c, found := i.contacts.column(name)
		switch {
		case !found, c.isText():
		case isNumber(c.base) && name == "phone_e164":
			i.add(preflight.Warning, "make it text, in E.164 form: +12055550142",
				"contacts.%s is %s: a phone number is found only if the type can hold its digits", name, c.display)
		default:
			i.add(preflight.Error, "make it text",
				"contacts.%s is %s, which is not text: Postgres refuses lookups by it, and the events end in Error", name, c.display)
		}
	}
}

func isNumber(base string) bool {
	return slices.Contains([]string{"int2", "int4", "int8", "numeric"}, base)
}

// kindOfID returns the kind of an id's type. All types of a kind accept the same values.
func kindOfID(c column) string {
	switch {
	case isNumber(c.base):
		return "number"
	case c.isText():
		return "text"
	default:
		return c.base
	}
}

// uuidLength is the length of a uuid as text.
const uuidLength = len("00000000-0000-0000-0000-000000000000")

// digits has the maximum number of digits of an id, by its type.
var digits = map[string]int{"int2": 5, "int4": 10, "int8": 19}

func (i *inspection) typeOfContactID() {
	id, found := i.contacts.column("id")
	of, alsoFound := i.leads.column("contact_id")
	if !found || !alsoFound {
		return
	}
	for _, c := range []struct {
		name string
		column
	}{{"contacts.id", id}, {"leads.contact_id", of}} {
		if kind := kindOfID(c.column); kind != "number" && kind != "text" && kind != "uuid" {
			i.add(preflight.Warning, "compare contacts.id with leads.contact_id of a lead",
				"%s is %s, a type with which verity-sync is not tested: it passes ids as text", c.name, c.display)
			return
		}
	}
	switch from, to := kindOfID(id), kindOfID(of); {
	case from == to && (from != "text" || of.length == 0 || id.length > 0 && id.length <= of.length):
	case to == "text" && from == "uuid" && of.length > 0 && of.length < uuidLength:
		i.add(preflight.Error, "make leads.contact_id uuid or text",
			"leads.contact_id is %s and contacts.id %s, which has %d characters: no lead is found or written, and the events end in Error",
			of.display, id.display, uuidLength)
	case to == "text" && from != "text" && (of.length == 0 || of.length >= digits[id.base]):
	case to == "text":
		i.add(preflight.Warning, "make leads.contact_id at least as long as contacts.id",
			"leads.contact_id is %s and contacts.id %s: contacts with a longer id get no lead, and their events end in Error",
			of.display, id.display)
	case from == "text":
		i.add(preflight.Warning, "give both columns the same type",
			"leads.contact_id is %s and contacts.id %s: contacts whose id is not a %s get no lead, and their events end in Error",
			of.display, id.display, to)
	default:
		i.add(preflight.Error, "give both columns the same type",
			"leads.contact_id is %s and contacts.id %s: no lead can belong to a contact, and the events end in Error",
			of.display, id.display)
	}
}

// GoHighLevel's ids of appointments are 20 characters of letters and digits, and have been 24.
const (
	shortestID = 20
	longestID  = 24
)

func (i *inspection) typeOfAppointment() {
	const action = "make it text"
	switch c, found := i.leads.column(appointmentColumn); {
	case !found:
	case !c.isText():
		i.add(preflight.Error, action,
			"leads.%s is %s, which cannot hold GoHighLevel's ids (20 to 24 letters and digits): no lead is written, and the events end "+
				"in Error", c.name, c.display)
	case c.length > 0 && c.length < shortestID:
		i.add(preflight.Error, action,
			"leads.%s is %s, and GoHighLevel's ids have 20 to 24 characters: no lead is written, and the events end in Error",
			c.name, c.display)
	case c.length > 0 && c.length < longestID:
		i.add(preflight.Warning, action,
			"leads.%s is %s, and GoHighLevel's ids have 20 to 24 characters: the events of appointments with a longer id end in Error",
			c.name, c.display)
	}
}

// timeLength is the length of a time that Postgres writes as text.
const timeLength = len("2026-11-23 16:42:39.220312+00")

func (i *inspection) typesOfTimes() {
	for _, name := range written[2:] {
		switch c, found := i.leads.column(name); {
		case !found, c.isTime():
		case c.isText() && (c.length == 0 || c.length >= timeLength):
			i.add(preflight.Warning, "make it timestamptz",
				"leads.%s is %s: verity-sync writes times as Postgres shows them, 2026-11-23 16:42:39.220312+00; a value that is not a "+
					"time fails the event that compares it", name, c.display)
		case c.isText():
			i.add(preflight.Error, "make it timestamptz",
				"leads.%s is %s, which is too short for a time: no lead is written, and the events end in Error", name, c.display)
		default:
			i.add(preflight.Error, "make it timestamptz",
				"leads.%s is %s, which cannot hold a time: no lead is written, and appointment events wait", name, c.display)
		}
	}
}

func (i *inspection) computedColumns() {
	if i.leads.updatable&acceptsUpdates == 0 {
		return // CheckTableKind reports it.
	}
	for _, name := range written {
		if c, found := i.leads.column(name); found && c.computed {
			i.add(preflight.Error, "make it an ordinary column",
				"leads.%s cannot be written (it is a generated column, an identity column or an expression of a view): no lead is "+
					"written, and appointment events wait", name)
		}
	}
}

// requiredByPartitions reads the columns that must not be null in a partition of leads, or in a child, into which no row is inserted. For
// a row that is inserted through the table, the defaults of the partition do not apply.
const requiredByPartitions = `
	SELECT DISTINCT a.attname::text, a.attrelid::regclass::text, c.relispartition FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE a.attrelid IN ` + members + ` AND a.attrelid <> to_regclass('leads') AND a.attnotnull AND a.attnum > 0 AND NOT a.attisdropped
	ORDER BY 2, 1`

// stricter calls report for each column that must not be null in a partition or a child, and may be null in leads.
func (i *inspection) stricter(report func(c column, member string, isPartition bool)) error {
	rows, err := i.db.Query(i.ctx, requiredByPartitions)
	if err != nil {
		return err
	}
	type required struct {
		Column, Member string
		IsPartition    bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[required])
	for _, r := range all {
		if c, found := i.leads.column(r.Column); found && !c.required {
			report(c, r.Member, r.IsPartition)
		}
	}
	return err
}

func (i *inspection) insertColumns() error {
	var supplied, missing []string
	for _, name := range slices.Sorted(maps.Keys(i.leads.columns)) {
		switch c := i.leads.columns[name]; {
		case !c.needsValue():
		case c.suppliable():
			supplied = append(supplied, fmt.Sprintf("%s (%s)", name, c.display))
		default:
			missing = append(missing, fmt.Sprintf("%s (%s)", name, c.display))
		}
	}
	err := i.stricter(func(c column, partition string, isPartition bool) {
		if isPartition && !c.hasDefault && !slices.Contains(written, c.name) {
			missing = append(missing, fmt.Sprintf("%s (%s, in the partition %s)", c.name, c.display, partition))
		}
	})
	if missing != nil {
		i.add(preflight.Warning, "give each a default, or allow NULL",
			"leads has columns that must not be null and have no default: %s; existing leads are updated, contacts without a lead "+
				"get none unless a trigger sets the columns, and their events end with the result LeadNotInsertable",
			preflight.InWords(missing))
	}
	if supplied != nil {
		i.add(preflight.OK, "", "leads has columns that must not be null and have no default: %s; verity-sync writes a random UUID as id, "+
			"and the time as updated_at", preflight.InWords(supplied))
	}
	return err
}

func (i *inspection) clearAppointment() error {
	if c, found := i.leads.column(appointmentColumn); found && c.required {
		i.add(preflight.Warning, "allow NULL there, or set VERITY_ON_DELETE=keep",
			"leads.%s must not be null: a lead whose appointment is deleted still points at it, and the event ends with the result "+
				"LeadUnchanged", c.name)
	}
	return i.stricter(func(c column, member string, isPartition bool) {
		kind := "child"
		if isPartition {
			kind = "partition"
		}
		if c.name == appointmentColumn {
			i.add(preflight.Warning, "allow NULL there, or set VERITY_ON_DELETE=keep",
				"%s must not be null in the %s %s of leads: a deleted appointment cannot be cleared there",
				c.name, kind, member)
		}
	})
}
