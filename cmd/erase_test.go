package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/erasure"
)

// people are two contacts with an event each, and one event that names no contact.
const people = `INSERT INTO webhook_events (id, source, body_hash, event_type, entity_type, entity_id, contact_id, payload_json, dedupe_key, ordering_key,
		status, processed_at) VALUES
	('01a2096d-39cf-744a-8892-000000000001', 'ghl', '', 'contact.created', 'contact', 'contactOfAda001', 'contactOfAda001',
		'{"type":"ContactCreate","id":"contactOfAda001","phone":"+12055550142","email":"ada@example.com","firstName":"Ada"}', '1', 'contact:contactOfAda001',
		'done', now()),
	('01a2096d-39cf-744a-8892-000000000002', 'ghl', '', 'appointment.created', 'appointment', 'apt1', NULL,
		'{"phone":"205-555-0142","calendar":{"appointmentId":"apt1"}}', '2', 'appointment:apt1', 'pending', NULL),
	('01a2096d-39cf-744a-8892-000000000003', 'ghl', '', 'message.inbound', 'message', 'm1', 'contactOfBob002',
		'{"contactId":"contactOfBob002","body":"call 205-555-0142"}', '3', 'message:m1', 'done', now());
	INSERT INTO contact_mappings (ghl_contact_id, phone_number, email) VALUES ('contactOfAda001', '+12055550142', 'ada@example.com')`

const (
	adasFirst  = "01a2096d-39cf-744a-8892-000000000001"
	adasSecond = "01a2096d-39cf-744a-8892-000000000002"
)

func TestEraseReportsThenErases(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	execute(t, database, people)
	environ := []string{"DATABASE_URL=" + database}

	out, err := run(t, environ, "erase", "--contact=contactOfAda001", "--dry-run")
	require.NoError(t, err)
	for _, line := range []string{
		`^Would erase the data of the contact contactOfAda001 \(1 phone numbers, 1 e-mail addresses\):\n`, `\n  webhook_events +2 +`, `\n  sync_log +0 +`,
		`\n  contact_mappings +1 +deleted\n`, `\n1 of the events were not finished. They would end in Error with the reason Erased.\n`,
		`\n  ` + adasFirst + `\n`, `\n  ` + adasSecond + `\n`, `\nThese mention the person and were not erased:\n\n  1 events of other contacts: contactOfBob002 \(1\)\n`,
		`\nNot reached:\n\n  GoHighLevel: delete the contact there first; `,
	} {
		assert.Regexp(t, line, out)
	}
	for _, personal := range []string{"555", "ada@", "Ada "} {
		assert.NotContains(t, out, personal)
	}

	_, err = run(t, environ, "erase", "--contact=contactOfAda001")
	require.ErrorContains(t, err, "nothing was erased: there is no terminal to confirm on")
	assert.Equal(t, exitPermanent, exitCode(err))

	out, err = run(t, environ, "erase", "--contact=contactOfAda001", "--yes", "-o", "json")
	require.NoError(t, err)
	var report erasureReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, rowsErased{Events: 2, Mappings: 1}, report.Rows)
	assert.ElementsMatch(t, []string{adasFirst, adasSecond}, report.Events)
	assert.Equal(t, 1, report.Unfinished)
	assert.NotEmpty(t, report.ID)
	assert.Equal(t, map[string]int{"contactOfBob002": 1}, report.Left.OtherContacts)

	out, err = run(t, environ, "erase", "--contact=contactOfAda001", "--yes")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(out, "No data of the contact contactOfAda001"), out)

	_, err = run(t, environ, "explain", "--event", adasFirst)
	require.ErrorContains(t, err, "the data of event "+adasFirst+" was erased at ")
	assert.Equal(t, exitPermanent, exitCode(err))
	for status, want := range map[string]string{"error": "would replay 0 events", "done": "would replay 1 events"} {
		out, err = run(t, environ, "replay", "--since=24h", "--dry-run", "--status="+status)
		require.NoError(t, err)
		assert.Contains(t, out, want)
		assert.Contains(t, out, "\n1 more are left out: their data was erased.\n")
	}
}

func TestEraseFindsAPersonByANumberOrAnAddress(t *testing.T) {
	t.Parallel()
	for name, flag := range map[string]string{
		"a number as people write it": "--phone=(205) 555-0142", "a number in E.164": "--phone=+12055550142", "an address in capitals": "--email=ADA@Example.com",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := migrated(t)
			execute(t, database, people)
			out, err := run(t, []string{"DATABASE_URL=" + database}, "erase", flag, "--yes")
			require.NoError(t, err)
			assert.Regexp(t, `^Erased the data of the contact contactOfAda001 `, out)
			assert.Regexp(t, `\n  webhook_events +2 +`, out)
		})
	}
	t.Run("standard input", func(t *testing.T) {
		t.Parallel()
		database := migrated(t)
		execute(t, database, people)
		var out strings.Builder
		root := newRootCommand([]string{"DATABASE_URL=" + database})
		root.SetIn(strings.NewReader("ada@example.com\n\n(205) 555-0142\n"))
		root.SetOut(&out)
		root.SetArgs([]string{"erase", "--phone", "-", "--yes"})
		require.NoError(t, root.ExecuteContext(t.Context()))
		assert.Regexp(t, `^Erased the data of the contact contactOfAda001 \(1 phone numbers, 1 e-mail addresses\)`, out.String())
	})
	t.Run("a number of two contacts", func(t *testing.T) {
		t.Parallel()
		database := migrated(t)
		execute(t, database, people)
		execute(t, database, `INSERT INTO contact_mappings (ghl_contact_id, phone_number) VALUES ('contactOfBob002', '+12055550142')`)
		_, err := run(t, []string{"DATABASE_URL=" + database}, "erase", "--phone=205-555-0142", "--yes")
		require.ErrorContains(t, err, "2 contacts have these phone numbers and e-mail addresses: contactOfAda001, contactOfBob002; erase one at a time with --contact")
		assert.Equal(t, exitPermanent, exitCode(err))
	})
}

func TestEraseRejectsInvalidFlagsWithoutQuotingThem(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"expected --contact, --phone or --email":            {},
		"--phone: expected a phone number such as +1":       {"--phone=555-0142"},
		"--email: expected an e-mail address":               {"--email=ada.example.com"},
		"--output: expected text or json, got \"yaml\"":     {"--contact=c", "-o", "yaml"},
		"--region: expected a region such as US or DE":      {"--contact=c", "--region=XX"},
		"DATABASE_URL: required":                            {"--contact=c"},
		"takes no URL as an argument":                       {"ada@example.com"},
		"it is not shown because it may contain a password": {"--dry-run=ada@example.com"},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, nil, append([]string{"erase"}, args...)...)
			require.ErrorContains(t, err, want)
			assert.Equal(t, exitPermanent, exitCode(err))
			assert.NotContains(t, err.Error(), "0142")
			assert.NotContains(t, err.Error(), "ada.example")
			assert.NotContains(t, err.Error(), "ada@example.com: ")
		})
	}
}

func TestOnlyTheWordConfirms(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]bool{"erase\n": true, "  erase \n": true, "erase": true, "yes\n": false, "\n": false, "": false, "Erase all\n": false} {
		var asked strings.Builder
		assert.Equal(t, want, confirmation{strings.NewReader(typed), &asked}.given(t.Context()), "%q", typed)
		assert.Equal(t, "\nThis cannot be undone. Type erase to continue: ", asked.String())
	}
	assert.False(t, confirmation{strings.NewReader("erase\n"), nil}.possible(), "a pipe is no terminal")
}

func TestAnInterruptDoesNotConfirm(t *testing.T) {
	t.Parallel()
	in, typing := io.Pipe()
	t.Cleanup(func() { assert.NoError(t, typing.Close()) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.False(t, confirmation{in, io.Discard}.given(ctx))
}

func TestAFlagMayHaveSeveralNumbersAndAddresses(t *testing.T) {
	t.Parallel()
	flags := eraseFlags{phones: []string{"+12055550142, +12055550143"}, emails: []string{"ada@example.com; bob@example.com"}, region: "US", output: "text"}
	p, err := flags.person()
	require.NoError(t, err)
	assert.Equal(t, []string{"+12055550142", "+12055550143"}, p.Phones)
	assert.ElementsMatch(t, []string{"ada@example.com", "bob@example.com"}, p.Emails)
}

func TestEraseChecksItsPrivilegesBeforeItWrites(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	execute(t, database, people)
	_, err := run(t, []string{"DATABASE_URL=" + database + "&default_transaction_read_only=on"}, "erase", "--contact=contactOfAda001", "--yes")
	require.ErrorContains(t, err, "nothing was erased: the database is read-only")
	assert.Equal(t, exitPermanent, exitCode(err))
	_, err = run(t, []string{"DATABASE_URL=" + database + "&default_transaction_read_only=on"}, "erase", "--contact=contactOfAda001", "--dry-run")
	require.NoError(t, err)
	_, err = run(t, []string{"DATABASE_URL=" + database}, "erase", "--contact=undefined", "--yes")
	require.ErrorContains(t, err, "nothing was erased: expected the id of one contact")
	assert.Equal(t, exitPermanent, exitCode(err))
}

func TestAFailedErasureReportsWhatWasErased(t *testing.T) {
	t.Parallel()
	database := migrated(t)
	execute(t, database, people+`;
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END';
		CREATE TRIGGER refuse BEFORE UPDATE ON webhook_events FOR EACH ROW WHEN (OLD.id = '`+adasFirst+`') EXECUTE FUNCTION refuse()`)
	var out, failed strings.Builder
	root := newRootCommand([]string{"DATABASE_URL=" + database})
	root.SetOut(&out)
	root.SetErr(&failed)
	root.SetArgs([]string{"erase", "--contact=contactOfAda001", "--yes", "-o", "json"})
	require.ErrorContains(t, root.ExecuteContext(t.Context()), "1 events were erased, then: ")
	var report erasureReport
	require.NoError(t, json.Unmarshal([]byte(out.String()), &report), out.String())
	assert.True(t, report.Failed)
	assert.Equal(t, rowsErased{Events: 1}, report.Rows)
}

func TestAReportEscapesTextOfABody(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	report := erasureReport{Contact: "a\x1b[2Jb", Left: rowsLeft{OtherContacts: map[string]int{"x\x1b]0;title\a\ny\u202e": 1, "bob@example.com": 1, "+12055550142": 2}}}
	require.NoError(t, report.write(&out, "text"))
	for _, raw := range []string{"\x1b", "\a", "\u202e", "title\n", "bob@", "555"} {
		assert.NotContains(t, out.String(), raw)
	}
	assert.Contains(t, out.String(), `"x\x1b]0;title\a\ny\u202e" (1)`)
	several := erasure.SeveralError{ContactIDs: []string{"a\x1b", "bob@example.com"}}
	assert.NotContains(t, several.Error(), "\x1b")
	assert.NotContains(t, several.Error(), "bob@")
}

// eventsOfTheDocs are the events of the example in docs/security.md: three of a contact, one that names no contact and has the contact's
// number, and one of another contact that mentions the number.
const eventsOfTheDocs = `
	INSERT INTO webhook_events (id, source, event_type, entity_type, entity_id, contact_id, ordering_key, dedupe_key, body_hash, status,
	                            processed_at, payload_json)
	VALUES
	('01a21d20-3ad1-7c1e-9f59-6f2b7d0c1a01', 'ghl', 'contact.created', 'contact', '9NkT25Vor1v4aQatFsv2', '9NkT25Vor1v4aQatFsv2',
	 'contact:9NkT25Vor1v4aQatFsv2', 'ghl:1', '1', 'done', now(),
	 '{"type":"ContactCreate","id":"9NkT25Vor1v4aQatFsv2","phone":"+12055550163","email":"ada@example.com"}'),
	('01a21d20-3ad1-7c1e-9f59-6f2b7d0c1a02', 'ghl', 'appointment.created', 'appointment', 'ocTYtESkS0VjbyPv4ppT', '9NkT25Vor1v4aQatFsv2',
	 'appointment:ocTYtESkS0VjbyPv4ppT', 'ghl:2', '2', 'done', now(),
	 '{"type":"AppointmentCreate","appointment":{"id":"ocTYtESkS0VjbyPv4ppT","contactId":"9NkT25Vor1v4aQatFsv2"}}'),
	('01a21d20-3ad1-7c1e-9f59-6f2b7d0c1a03', 'ghl', 'unknown', 'unknown', NULL, NULL, NULL, 'ghl:3', '3', 'done', now(),
	 '{"type":"Something Else","phone":"(205) 555-0163"}'),
	('01a21d20-3ad1-7c1e-9f59-6f2b7d0c1a04', 'ghl', 'contact.updated', 'contact', '9NkT25Vor1v4aQatFsv2', '9NkT25Vor1v4aQatFsv2',
	 'contact:9NkT25Vor1v4aQatFsv2', 'ghl:4', '4', 'pending', NULL,
	 '{"type":"ContactUpdate","id":"9NkT25Vor1v4aQatFsv2","phone":"+12055550163","email":"ada@example.com"}'),
	('01a21d20-3ad1-7c1e-9f59-6f2b7d0c1a05', 'ghl', 'note.created', 'note', 'n1', 'ocQHyuzHvysMo5N5VsXc', 'note:n1', 'ghl:5', '5', 'done',
	 now(), '{"type":"NoteCreate","id":"n1","contactId":"ocQHyuzHvysMo5N5VsXc","body":"The boss is 205 555 0163"}');
	INSERT INTO sync_log (webhook_event_id, direction, operation, entity_type, entity_id, status)
	SELECT id, 'ghl_to_verity', 'verity-forward', entity_type, entity_id, 'success' FROM webhook_events
	WHERE dedupe_key IN ('ghl:1', 'ghl:2');
	INSERT INTO contact_mappings (ghl_contact_id, phone_number, email) VALUES ('9NkT25Vor1v4aQatFsv2', '+12055550163', 'ada@example.com');
	INSERT INTO appointments (ghl_appointment_id, ghl_contact_id, first_at, booked, newest)
	VALUES ('ocTYtESkS0VjbyPv4ppT', '9NkT25Vor1v4aQatFsv2', now(), true, ROW(now(), false, now(), gen_random_uuid())::event_order)`

func TestTheDocsShowWhatEraseReports(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	execute(t, url, eventsOfTheDocs)
	const command = "erase --contact 9NkT25Vor1v4aQatFsv2 --dry-run"
	out, err := run(t, []string{"DATABASE_URL=" + url}, strings.Fields(command)...)
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/security.md")
	require.NoError(t, err)
	assert.Contains(t, string(page), "```console\n$ verity-sync "+command+"\n"+out+"```\n")
}
