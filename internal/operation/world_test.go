package operation_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	ghlsim "github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	veritysim "github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

const location = "loc1"

// inUS has all phone numbers in national form belong to the United States.
var inUS = operation.Regions{Default: "US"}

// at returns an instant of the day on which everything in these tests happens.
func at(hour int) time.Time {
	return time.Date(2026, time.November, 2, hour, 0, 0, 0, time.UTC)
}

// world is a middleware database and a Verity. Tests that share one tell their contacts and appointments apart by number.
type world struct {
	t         *testing.T
	url       string
	verityURL string
	store     *store.Store
	verity    *veritysim.Database
	// pool looks into Verity's database.
	pool  *pgxpool.Pool
	leads *verity.Leads
	n     atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, url: testenv.Postgres(t)}
	_, err := store.Migrate(t.Context(), w.url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	w.store = w.openStore()

	w.verityURL = testenv.Postgres(t)
	w.verity, err = veritysim.OpenDatabase(t.Context(), w.verityURL)
	require.NoError(t, err)
	t.Cleanup(w.verity.Close)
	w.pool, err = pgxpool.New(t.Context(), w.verityURL)
	require.NoError(t, err)
	t.Cleanup(w.pool.Close)
	w.leads = w.openLeads()
	return w
}

func (w *world) openLeads() *verity.Leads {
	w.t.Helper()
	leads, err := verity.OpenLeads(w.t.Context(), verity.LeadsConfig{URL: w.verityURL})
	require.NoError(w.t, err)
	w.t.Cleanup(leads.Close)
	return leads
}

func (w *world) openStore() *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.url, store.Options{Name: "test", MaxConns: 8})
	require.NoError(w.t, err)
	w.t.Cleanup(s.Close)
	return s
}

// lead returns the operation as it is without GoHighLevel's API and with the default endings.
func (w *world) lead() *operation.Lead {
	return &operation.Lead{
		Store: w.store, Leads: w.leads, Breaker: patient("verity-db"), EndPolicy: store.EndPolicy{Deletion: true}, Regions: inUS,
	}
}

// patient returns a breaker that stays closed.
func patient(name string) *destination.Breaker {
	return destination.NewBreaker(name, destination.BreakerOptions{Failures: 1 << 30})
}

// contact is a contact at GoHighLevel and in Verity.
type contact struct{ ghl, verity, phone, email string }

// stranger returns a contact that neither the middleware nor Verity knows.
func (w *world) stranger() contact {
	n := w.n.Add(1)
	return contact{ghl: fmt.Sprintf("contact%d", n), phone: fmt.Sprintf("+1205555%04d", n), email: fmt.Sprintf("Person%d@example.com", n)}
}

// contact returns a contact that Verity has, and of whom the middleware knows the phone number.
func (w *world) contact() contact {
	w.t.Helper()
	c := w.stranger()
	c.verity = w.inVerity(c.phone, c.email)
	w.remember(c.ghl, c.phone, "")
	return c
}

// inVerity adds a contact to Verity and returns its id.
func (w *world) inVerity(phone, email string) string {
	w.t.Helper()
	id, err := w.verity.AddContact(w.t.Context(), phone, email)
	require.NoError(w.t, err)
	return id
}

func (w *world) remember(ghlContactID, phone, email string) {
	w.t.Helper()
	m := store.Mapping{GHLContactID: ghlContactID, Phone: phone, Email: email}
	require.NoError(w.t, w.store.RememberContact(w.t.Context(), m, at(0)))
}

// appointment returns an id that no other test has.
func (w *world) appointment() string { return fmt.Sprintf("apt%d", w.n.Add(1)) }

// rest makes all leads of a contact such that nothing has happened to them for years.
func (w *world) rest(verityID string) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), `UPDATE leads SET last_activity_at = '2020-01-01' WHERE contact_id = $1`, verityID)
	require.NoError(w.t, err)
}

// leadsOf returns what the leads of a contact point at, in order; "active" marks those that were touched just now.
func (w *world) leadsOf(verityID string) []string {
	w.t.Helper()
	rows, err := w.pool.Query(w.t.Context(), `
		SELECT coalesce(ghl_appointment_id, 'none') || CASE WHEN last_activity_at > now() - interval '1 hour' THEN ' active' ELSE '' END
		FROM leads WHERE contact_id = $1 ORDER BY 1`, verityID)
	require.NoError(w.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(w.t, err)
	return list
}

// body is a webhook's body.
type body map[string]any

// with returns the body with more members.
func (b body) with(more body) body {
	b = maps.Clone(b)
	maps.Copy(b, more)
	return b
}

// posted is what a marketplace app is sent of an appointment.
func posted(kind, appointment, contact string, hour int, status string) body {
	return body{
		"type": kind, "locationId": location, "timestamp": at(hour).Format(time.RFC3339),
		"appointment": body{"id": appointment, "contactId": contact, "appointmentStatus": status},
	}
}

func booked(appointment, contact string, hour int) body {
	return posted("AppointmentCreate", appointment, contact, hour, "confirmed")
}

func updated(appointment, contact string, hour int, status string) body {
	return posted("AppointmentUpdate", appointment, contact, hour, status)
}

func deleted(appointment, contact string, hour int) body {
	return posted("AppointmentDelete", appointment, contact, hour, "")
}

// anonymous is a booking that does not say whose it is.
func anonymous(appointment string) body { return booked(appointment, "", 1) }

// workflow is what a workflow posts of an appointment: whose it is stands at the root, and when it happened nowhere.
func workflow(appointment string, person body) body {
	return body{
		"workflow": body{"id": "flow1"}, "calendar": body{"appointmentId": appointment, "id": "calendar1", "status": "booked"},
	}.with(person)
}

// arrivals orders events by when they came in.
var arrivals atomic.Int64

// claimed is an event as the controller hands it to an operation.
func claimed(t *testing.T, b body) *store.Attempt {
	t.Helper()
	payload, err := json.Marshal(b)
	require.NoError(t, err)
	decoded, err := ghl.Decode("application/json", payload)
	require.NoError(t, err)
	receivedAt := at(20).Add(time.Duration(arrivals.Add(1)) * time.Millisecond)
	return &store.Attempt{
		ID: uuid.Must(uuid.NewV7()), Event: ghl.Normalise(decoded, receivedAt), Payload: decoded.Payload, ReceivedAt: receivedAt,
		StartedAt: receivedAt,
	}
}

// ghlServer is a simulated GoHighLevel, which knows one location.
type ghlServer struct {
	*ghlsim.Server
	api *operation.GHL
}

func newGHL(t *testing.T) *ghlServer {
	t.Helper()
	return newGHLWith(t, tokens{location: "token1"})
}

func newGHLWith(t *testing.T, tokens ghlapi.TokenSource) *ghlServer {
	t.Helper()
	sim := ghlsim.New()
	sim.PutLocation(ghlsim.Location{ID: location, Token: "token1"})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	client, err := ghlapi.New(ghlapi.Options{BaseURL: server.URL, Tokens: tokens, HTTP: destination.NewClient("test")})
	require.NoError(t, err)
	return &ghlServer{sim, &operation.GHL{
		API: client, Breakers: operation.NewLocationBreakers(destination.BreakerOptions{Failures: 2}, client.Vouched),
	}}
}

// tokens are those of a few locations; without a location there is none.
type tokens map[string]string

func (t tokens) Token(locationID string) (string, error) {
	if token, ok := t[locationID]; ok {
		return token, nil
	}
	return "", ghlapi.ErrLocationUnknown
}

// Own reports whether there is a token of the location.
func (t tokens) Own(locationID string) bool { return t[locationID] != "" }

// asked returns the paths that GoHighLevel was asked for.
func (g *ghlServer) asked() []string {
	paths := []string{}
	for _, r := range g.Requests.Requests("", "") {
		paths = append(paths, r.Method+" "+r.Path)
	}
	return paths
}
