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

// inUS makes the United States the region of all phone numbers in national form.
var inUS = operation.Regions{Default: "US"}

// at returns a time on the day of the tests' events.
func at(hour int) time.Time {
	return time.Date(2026, time.November, 2, hour, 0, 0, 0, time.UTC)
}

// environment is a middleware database and Verity's. Subtests share one; n makes their contacts and appointments distinct.
type environment struct {
	t         *testing.T
	url       string
	verityURL string
	store     *store.Store
	verity    *veritysim.Database
	// pool connects to Verity's database.
	pool  *pgxpool.Pool
	leads *verity.Leads
	n     atomic.Int64
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	env := &environment{t: t, url: testenv.Postgres(t)}
	_, err := store.Migrate(t.Context(), env.url, store.MigrateOptions{Normalise: func([]byte, time.Time) event.Event { return event.Event{} }})
	require.NoError(t, err)
	env.store = env.openStore()

	env.verityURL = testenv.Postgres(t)
	env.verity, err = veritysim.OpenDatabase(t.Context(), env.verityURL)
	require.NoError(t, err)
	t.Cleanup(env.verity.Close)
	env.pool, err = pgxpool.New(t.Context(), env.verityURL)
	require.NoError(t, err)
	t.Cleanup(env.pool.Close)
	env.leads = env.openLeads()
	return env
}

func (env *environment) openLeads() *verity.Leads {
	env.t.Helper()
	leads, err := verity.OpenLeads(env.t.Context(), verity.LeadsConfig{URL: env.verityURL})
	require.NoError(env.t, err)
	env.t.Cleanup(leads.Close)
	return leads
}

func (env *environment) openStore() *store.Store {
	env.t.Helper()
	s, err := store.Open(env.t.Context(), env.url, store.Options{Name: "test", MaxConns: 8})
	require.NoError(env.t, err)
	env.t.Cleanup(s.Close)
	return s
}

// lead returns the operation with the default policy, without GoHighLevel's API.
func (env *environment) lead() *operation.Lead {
	return &operation.Lead{
		Store: env.store, Leads: env.leads, Breaker: closedBreaker("verity-db"), EndPolicy: store.EndPolicy{Deletion: true}, Regions: inUS,
	}
}

// closedBreaker returns a breaker that never opens.
func closedBreaker(name string) *destination.Breaker {
	return destination.NewBreaker(name, destination.BreakerOptions{Failures: 1 << 30})
}

// contact is a contact at GoHighLevel and in Verity.
type contact struct{ ghl, verity, phone, email string }

// newContact returns a contact that is in neither database.
func (env *environment) newContact() contact {
	n := env.n.Add(1)
	return contact{ghl: fmt.Sprintf("contact%d", n), phone: fmt.Sprintf("+1205555%04d", n), email: fmt.Sprintf("Person%d@example.com", n)}
}

// contact returns a contact that is in Verity, and whose phone number the middleware has stored.
func (env *environment) contact() contact {
	env.t.Helper()
	c := env.newContact()
	c.verity = env.addToVerity(c.phone, c.email)
	env.remember(c.ghl, c.phone, "")
	return c
}

// addToVerity adds a contact to Verity and returns its id.
func (env *environment) addToVerity(phone, email string) string {
	env.t.Helper()
	id, err := env.verity.AddContact(env.t.Context(), phone, email)
	require.NoError(env.t, err)
	return id
}

func (env *environment) remember(ghlContactID, phone, email string) {
	env.t.Helper()
	m := store.Mapping{GHLContactID: ghlContactID, Phone: phone, Email: email}
	require.NoError(env.t, env.store.RememberContact(env.t.Context(), m, at(0)))
}

// appointment returns a unique appointment id.
func (env *environment) appointment() string { return fmt.Sprintf("apt%d", env.n.Add(1)) }

// ageLeads sets the last activity of a contact's leads to years ago.
func (env *environment) ageLeads(verityID string) {
	env.t.Helper()
	_, err := env.pool.Exec(env.t.Context(), `UPDATE leads SET last_activity_at = '2020-01-01' WHERE contact_id = $1`, verityID)
	require.NoError(env.t, err)
}

// leadsOf returns the appointments that a contact's leads point at, in order. "active" marks leads with activity in the last hour.
func (env *environment) leadsOf(verityID string) []string {
	env.t.Helper()
	rows, err := env.pool.Query(env.t.Context(), `
		SELECT coalesce(ghl_appointment_id, 'none') || CASE WHEN last_activity_at > now() - interval '1 hour' THEN ' active' ELSE '' END
		FROM leads WHERE contact_id = $1 ORDER BY 1`, verityID)
	require.NoError(env.t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(env.t, err)
	return list
}

// body is a webhook's body.
type body map[string]any

// with returns a copy of the body with more members.
func (b body) with(more body) body {
	b = maps.Clone(b)
	maps.Copy(b, more)
	return b
}

// marketplace returns the body that a marketplace app gets for an appointment.
func marketplace(kind, appointment, contact string, hour int, status string) body {
	return body{
		"type": kind, "locationId": location, "timestamp": at(hour).Format(time.RFC3339),
		"appointment": body{"id": appointment, "contactId": contact, "appointmentStatus": status},
	}
}

func booked(appointment, contact string, hour int) body {
	return marketplace("AppointmentCreate", appointment, contact, hour, "confirmed")
}

func updated(appointment, contact string, hour int, status string) body {
	return marketplace("AppointmentUpdate", appointment, contact, hour, status)
}

func deleted(appointment, contact string, hour int) body {
	return marketplace("AppointmentDelete", appointment, contact, hour, "")
}

// withoutContact is a booking that names no contact.
func withoutContact(appointment string) body { return booked(appointment, "", 1) }

// workflow returns the body that a workflow sends for an appointment: it has the contact at the root, and no time.
func workflow(appointment string, person body) body {
	return body{
		"workflow": body{"id": "flow1"}, "calendar": body{"appointmentId": appointment, "id": "calendar1", "status": "booked"},
	}.with(person)
}

// arrivals orders events by the time of receipt.
var arrivals atomic.Int64

// attempt returns the attempt of an event with this body.
func attempt(t *testing.T, b body) *store.Attempt {
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

// ghlServer is a simulated GoHighLevel with one location.
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
		API: client, Breakers: operation.NewLocationBreakers(destination.BreakerOptions{Failures: 2}, client.LocationKnown),
	}}
}

// tokens are the tokens of locations.
type tokens map[string]string

func (t tokens) Token(locationID string) (string, error) {
	if token, ok := t[locationID]; ok {
		return token, nil
	}
	return "", ghlapi.ErrLocationUnknown
}

// Own reports whether the location has a token.
func (t tokens) Own(locationID string) bool { return t[locationID] != "" }

// requested returns the methods and paths of GoHighLevel's requests.
func (g *ghlServer) requested() []string {
	paths := []string{}
	for _, r := range g.Requests.Requests("", "") {
		paths = append(paths, r.Method+" "+r.Path)
	}
	return paths
}
