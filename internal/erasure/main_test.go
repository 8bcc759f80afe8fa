package erasure_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/erasure"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// environment is a new migrated database with a receiver's writer.
type environment struct {
	*store.Store
	t      *testing.T
	url    string
	writer *store.Writer
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	e := &environment{t: t, url: testenv.Postgres(t)}
	_, err := store.Migrate(t.Context(), e.url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	e.Store, err = store.Open(t.Context(), e.url, store.Options{Name: "test", MaxConns: 8})
	require.NoError(t, err)
	t.Cleanup(e.Store.Close)
	e.writer = store.NewWriter(e.Store, store.WriterOptions{})
	t.Cleanup(e.writer.Close)
	return e
}

// send stores a body as the receiver does: with its webhookId if it is signed, and as text if it does not parse.
func (e *environment) send(body string) store.Receipt {
	e.t.Helper()
	return e.sendAs("application/json", body)
}

func (e *environment) sendAs(contentType, text string) store.Receipt {
	e.t.Helper()
	raw := []byte(text)
	d := store.Delivery{
		Headers: map[string]string{"Content-Type": contentType, "User-Agent": "axios"}, BodyHash: sha256.Sum256(raw),
	}
	body, err := ghl.Decode(contentType, raw)
	if err != nil {
		d.Event = event.Event{
			Source: event.SourceGHL, Type: event.TypeUnparseable, EntityType: event.EntityUnknown,
			DedupeKey: fmt.Sprintf("ghl:unparseable:%x", d.BodyHash),
		}
		d.Payload, d.Raw = []byte("{}"), raw
	} else {
		d.Event = ghl.Normalise(body, time.Now())
		d.Payload, d.Raw, d.Occurrence = body.Payload, body.Raw, body.IsOccurrence(d.Event)
	}
	receipt, err := e.writer.Commit(e.t.Context(), d)
	require.NoError(e.t, err)
	return receipt
}

func (e *environment) exec(sql string, args ...any) {
	e.t.Helper()
	_, err := e.Pool().Exec(e.t.Context(), sql, args...)
	require.NoError(e.t, err)
}

func value[T any](e *environment, sql string, args ...any) T {
	e.t.Helper()
	var v T
	require.NoError(e.t, e.Pool().QueryRow(e.t.Context(), sql, args...).Scan(&v))
	return v
}

func (e *environment) find(p erasure.Person) *erasure.Plan {
	e.t.Helper()
	if p.Region == "" {
		p.Region = "US"
	}
	plan, err := erasure.Find(e.t.Context(), e.Store, p)
	require.NoError(e.t, err)
	return plan
}

func (e *environment) erase(p erasure.Person) (*erasure.Plan, erasure.Outcome) {
	e.t.Helper()
	plan := e.find(p)
	outcome, err := erasure.Erase(e.t.Context(), e.Store, plan)
	require.NoError(e.t, err)
	return plan, outcome
}

func idsOf(p *erasure.Plan) []uuid.UUID {
	ids := make([]uuid.UUID, len(p.Events))
	for i, f := range p.Events {
		ids[i] = f.ID
	}
	return ids
}

// rows returns every row of every table as Postgres prints it, by table and primary key, without exempt tables.
func (e *environment) rows() map[string]string {
	e.t.Helper()
	out := map[string]string{}
	for table, key := range map[string]string{
		"webhook_events": "id", "sync_log": "id", "contact_mappings": "ghl_contact_id", "appointments": "ghl_appointment_id",
	} {
		rows, err := e.Pool().Query(e.t.Context(), fmt.Sprintf(`SELECT %s::text, t::text FROM %s t`, key, table))
		require.NoError(e.t, err)
		for rows.Next() {
			var id, text string
			require.NoError(e.t, rows.Scan(&id, &text))
			out[table+" "+id] = text
		}
		require.NoError(e.t, rows.Err())
	}
	return out
}

// columns returns the columns of all tables, as table.column, and their types.
func (e *environment) columns() map[string]string {
	e.t.Helper()
	rows, err := e.Pool().Query(e.t.Context(), `SELECT table_name || '.' || column_name, data_type FROM information_schema.columns
		WHERE table_schema = current_schema()`)
	require.NoError(e.t, err)
	out := map[string]string{}
	for rows.Next() {
		var name, dataType string
		require.NoError(e.t, rows.Scan(&name, &dataType))
		out[name] = dataType
	}
	require.NoError(e.t, rows.Err())
	return out
}

// holders returns the columns that contain one of the texts in any letter case, in text, JSON, an array or bytes.
func (e *environment) holders(texts ...string) []string {
	e.t.Helper()
	var found []string
	for column, dataType := range e.columns() {
		table, name, _ := strings.Cut(column, ".")
		as := name + "::text"
		if dataType == "bytea" {
			as = "encode(" + name + ", 'escape')"
		}
		for _, text := range texts {
			if value[bool](e, fmt.Sprintf(`SELECT EXISTS (SELECT FROM %s WHERE position(lower($1) IN lower(%s)) > 0)`, table, as), text) {
				found = append(found, column+": "+text)
			}
		}
	}
	return found
}

// samples returns the bodies of GoHighLevel's samples, by name.
func samples(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, folder := range []string{"samples", "reports", "odd"} {
		files, err := filepath.Glob(filepath.Join("..", "ghl", "testdata", folder, "*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			body, err := os.ReadFile(file)
			require.NoError(t, err)
			out[filepath.Base(file)] = string(body)
		}
	}
	return out
}

// personal returns the personal data in a body: phone numbers, addresses and names.
func personal(t *testing.T, text string) (texts []string, contact string) {
	t.Helper()
	body, err := ghl.Decode("application/json", []byte(text))
	if err != nil {
		return nil, ""
	}
	e := ghl.Normalise(body, time.Now())
	reach, name := ghl.ReachOf(body), ghl.PersonOf(body, e.EntityType)
	texts = append(append(texts, reach.Phones...), reach.Emails...)
	if name.FirstName != "" && name.LastName != "" {
		texts = append(texts, name.FirstName+" "+name.LastName)
	}
	return texts, e.ContactID
}
