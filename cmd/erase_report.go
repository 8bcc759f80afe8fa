package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dfmiddleware/verity-sync/internal/erasure"
)

// erasureReport is the output of an erasure. It has ids, and no other data of the person.
type erasureReport struct {
	DryRun bool `json:"dryRun"`
	// Failed is true if the erasure stopped half-way. Rows then counts what it erased until then.
	Failed bool `json:"failed,omitempty"`
	// ID is the correlation id of the entry in sync_log; empty if nothing was erased.
	ID      string `json:"erasureID,omitempty"`
	Contact string `json:"contact,omitempty"`
	// Phones and Emails are how many of the person's phone numbers and addresses were searched for.
	Phones int `json:"phoneNumbers"`
	Emails int `json:"emailAddresses"`

	Rows rowsErased `json:"rows"`
	// Unfinished counts the unfinished events, which end in Error.
	Unfinished int `json:"unfinishedEvents"`
	// Events are the ids of the events. The name of a WebhookEvent is its event's id after a prefix.
	Events []string `json:"events"`

	Left    rowsLeft `json:"left"`
	Outside []string `json:"notReached"`
}

// rowsErased counts rows by their table.
type rowsErased struct {
	Events       int   `json:"webhook_events"`
	Ledger       int64 `json:"sync_log"`
	Mappings     int64 `json:"contact_mappings"`
	Appointments int64 `json:"appointments"`
}

// rowsLeft counts the rows that mention the person and stay.
type rowsLeft struct {
	OtherContacts  map[string]int `json:"eventsOfOtherContacts"`
	Unclear        []string       `json:"eventsThatMayBeAnotherPersons"`
	OtherLocations int            `json:"eventsOfOtherLocations"`
	OtherLog       int            `json:"logEntriesOfOtherContacts"`
}

// outside lists the data that an erasure does not reach.
var outside = []string{
	"GoHighLevel: delete the contact there first; webhooks that it sends later are stored, and need another erasure",
	"Verity: contacts, leads and webhooks that were forwarded to it; a call in flight may still arrive",
	"Aloware: contacts that were synced to it",
	"the webhook sink: events that were sent to it",
	"backups, replicas that lag, the write-ahead log, and dead row versions until VACUUM removes them",
	"bodies that name the person by name only, or have a number or an address in a notation that is not " +
		"recognised (spelt out, in pictures)",
	"what is listed above as not erased",
	"WebhookEvents of these events: they hold the contact's id until DONE_TTL or ERROR_TTL ends, and no other personal data",
	"ids: the contact's own stays in entity_id and ordering_key of events about the contact, to recognise repeated deliveries, " +
		"until RETENTION ends",
}

func newErasureReport(p *erasure.Plan) *erasureReport {
	r := &erasureReport{
		Contact: p.Person.ContactID, Phones: p.Phones, Emails: p.Emails, Unfinished: p.Unfinished(), Events: []string{}, Outside: outside,
		Rows: rowsErased{
			Events: len(p.Events), Ledger: p.Ledger + int64(len(p.Log)), Mappings: int64(p.Mappings), Appointments: int64(p.Appointments),
		},
		Left: rowsLeft{
			OtherContacts: p.Left.OtherContacts, Unclear: []string{}, OtherLocations: p.Left.OtherLocations, OtherLog: p.Left.OtherLog,
		},
	}
	for _, e := range p.Events {
		r.Events = append(r.Events, e.ID.String())
	}
	for _, id := range p.Left.Unclear {
		r.Left.Unclear = append(r.Left.Unclear, id.String())
	}
	return r
}

// done sets the numbers to those of a finished erasure.
func (r *erasureReport) done(o erasure.Outcome) {
	r.ID, r.Unfinished = o.ID.String(), o.Ended
	r.Rows = rowsErased{Events: o.Events, Ledger: o.Ledger, Mappings: o.Mappings, Appointments: o.Appointments}
}

func (r *erasureReport) write(out io.Writer, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	who := "the person"
	if r.Contact != "" {
		who = "the contact " + erasure.Shown(r.Contact)
	}
	who += fmt.Sprintf(" (%d phone numbers, %d e-mail addresses)", r.Phones, r.Emails)
	switch {
	case !r.Failed && len(r.Events) == 0 && r.Rows == rowsErased{}:
		fmt.Fprintf(out, "No data of %s was found.\n", who)
		r.writeLeft(out)
		return nil
	case r.DryRun:
		fmt.Fprintf(out, "Would erase the data of %s:\n\n", who)
	case r.Failed:
		fmt.Fprintf(out, "The erasure of the data of %s stopped half-way. See the entry of sync_log with the correlation id %s.\n"+
			"Erased until then:\n\n", who, r.ID)
	default:
		fmt.Fprintf(out, "Erased the data of %s. See the entry of sync_log with the correlation id %s.\n\n", who, r.ID)
	}
	if err := r.writeRows(out); err != nil {
		return err
	}
	r.writeEvents(out)
	r.writeLeft(out)
	fmt.Fprint(out, "\nNot reached:\n\n")
	for _, line := range r.Outside {
		fmt.Fprintf(out, "  %s\n", line)
	}
	return nil
}

func (r *erasureReport) writeRows(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  TABLE\tROWS\tWHAT HAPPENS TO THEM")
	fmt.Fprintf(table, "  webhook_events\t%d\tbody, headers, contact and error text removed; "+
		"ids, times, type, status and dedupe key stay\n", r.Rows.Events)
	fmt.Fprintf(table, "  sync_log\t%d\terror text, details, the contact's and destinations' ids removed\n", r.Rows.Ledger)
	fmt.Fprintf(table, "  contact_mappings\t%d\tdeleted\n", r.Rows.Mappings)
	fmt.Fprintf(table, "  appointments\t%d\tdeleted\n", r.Rows.Appointments)
	if err := table.Flush(); err != nil {
		return err
	}
	if r.Unfinished > 0 {
		verb := "ended"
		if r.DryRun {
			verb = "would end"
		}
		fmt.Fprintf(out, "\n%d of the events were not finished. They %s in Error with the reason Erased.\n", r.Unfinished, verb)
	}
	return nil
}

// shownEvents is how many ids the text shows; JSON has all.
const shownEvents = 20

func (r *erasureReport) writeEvents(out io.Writer) {
	if len(r.Events) == 0 {
		return
	}
	fmt.Fprint(out, "\nEvents:\n\n")
	for _, id := range r.Events[:min(len(r.Events), shownEvents)] {
		fmt.Fprintf(out, "  %s\n", id)
	}
	if more := len(r.Events) - shownEvents; more > 0 {
		fmt.Fprintf(out, "  and %d more: -o json lists all\n", more)
	}
}

func (r *erasureReport) writeLeft(out io.Writer) {
	var lines []string
	if n := len(r.Left.OtherContacts); n > 0 {
		total, ids := 0, []string{}
		for _, id := range slices.Sorted(maps.Keys(r.Left.OtherContacts)) {
			total += r.Left.OtherContacts[id]
			ids = append(ids, fmt.Sprintf("%s (%d)", erasure.Shown(id), r.Left.OtherContacts[id]))
		}
		lines = append(lines, fmt.Sprintf("%d events of other contacts: %s", total, strings.Join(ids, ", ")))
	}
	if n := len(r.Left.Unclear); n > 0 {
		lines = append(lines, fmt.Sprintf("%d events that name no contact and may be another person's: check them with explain or in "+
			"the database, -o json lists their ids", n))
	}
	if n := r.Left.OtherLocations; n > 0 {
		lines = append(lines, fmt.Sprintf("%d events of other locations", n))
	}
	if n := r.Left.OtherLog; n > 0 {
		lines = append(lines, fmt.Sprintf("%d entries that are about other contacts, or may be, in the legacy middleware's log", n))
	}
	if len(lines) > 0 {
		fmt.Fprint(out, "\nThese mention the person and were not erased:\n\n")
	}
	for _, line := range lines {
		fmt.Fprintf(out, "  %s\n", line)
	}
}
