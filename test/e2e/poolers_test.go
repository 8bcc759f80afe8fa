package e2e

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgbouncer"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// behind starts a system both of whose databases are behind a pooler, with so many receivers and controllers, and returns the pooler.
func behind(t *testing.T, replicas int, options pgbouncer.Options) (*system.System, *pgbouncer.Pooler) {
	t.Helper()
	var pooler *pgbouncer.Pooler
	s := start(t, system.Options{Receivers: replicas, Controllers: replicas, Wire: func(_ context.Context, s *system.System, env map[string]string) error {
		pooler, _ = testenv.PgBouncer(t, s.DatabaseURL, options)
		var ownErr, verityErr error
		env["DATABASE_URL"], ownErr = pooler.URL(s.DatabaseURL)
		env["VERITY_DATABASE_URL"], verityErr = pooler.URL(s.VerityDatabaseURL)
		return errors.Join(ownErr, verityErr)
	}})
	return s, pooler
}

// book posts what makes a contact and its lead to a receiver, again until it is accepted, and returns the appointment.
func book(ctx context.Context, s *system.System, receiver *system.Process) (string, error) {
	contact := ghlsender.Contact{ID: ghlsender.NewID(), Email: ghlsender.NewID() + "@example.com"}
	appointment := ghlsender.Appointment{ID: ghlsender.NewID(), ContactID: contact.ID}
	for _, w := range []ghlsender.Webhook{
		s.Sender.Contact(ghlsender.Create, contact), s.Sender.Appointment(ghlsender.Create, appointment),
	} {
		for {
			answer, err := s.Post(ctx, receiver, w)
			if err != nil {
				return "", err
			}
			if answer.Status == http.StatusOK {
				break
			}
			if answer.Status != http.StatusTooManyRequests {
				return "", errors.New(answer.Error)
			}
		}
	}
	return appointment.ID, nil
}

// requireLeads waits until everything is done and every appointment has its lead.
func requireLeads(t *testing.T, s *system.System, appointments []string) {
	t.Helper()
	systemtest.Eventually(t, func(c *assert.CollectT) {
		var done, other int
		require.NoError(c, s.Database.QueryRow(t.Context(),
			`SELECT count(*) FILTER (WHERE status = 'done'), count(*) FILTER (WHERE status <> 'done') FROM webhook_events`).Scan(&done, &other))
		assert.Equal(c, 2*len(appointments), done)
		assert.Zero(c, other)
	})
	leads, err := s.VerityDatabase.Leads(t.Context())
	require.NoError(t, err)
	var pointed []string
	for _, lead := range leads {
		pointed = append(pointed, lead.AppointmentID)
	}
	assert.ElementsMatch(t, appointments, pointed)
}

func TestEverythingIsDoneBehindAPooler(t *testing.T) {
	t.Parallel()
	permissive := map[string]string{"ignore_startup_parameters": pgbouncer.Permissive}
	for name, options := range map[string]pgbouncer.Options{
		"of sessions":                 {Mode: "session"},
		"of sessions, permissive":     {Mode: "session", Settings: permissive},
		"of transactions":             {Mode: "transaction"},
		"of transactions, permissive": {Mode: "transaction", Settings: permissive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := behind(t, 1, options)
			requireLeads(t, s, bookMany(t, s, func() {}))
		})
	}
}

// Two receivers and two controllers, as the chart installs, may want 48 connections of the pooler. It has 20 by default.
func TestEverythingIsDoneBehindAPoolerOfSessionsThatHasFewerThanThePoolsWant(t *testing.T) {
	t.Parallel()
	s, _ := behind(t, 2, pgbouncer.Options{Mode: "session"})
	requireLeads(t, s, bookMany(t, s, func() {}))
}

func TestAPoolerThatIsRestartedUnderLoadCostsNothing(t *testing.T) {
	t.Parallel()
	s, pooler := behind(t, 1, pgbouncer.Options{Mode: "transaction"})
	requireLeads(t, s, bookMany(t, s, func() {
		require.NoError(t, pooler.Kill())
		require.NoError(t, pooler.Start(t.Context()))
	}))
}

// bookMany books in parallel, and does something in the middle of it.
func bookMany(t *testing.T, s *system.System, middle func()) []string {
	t.Helper()
	const bookers, each = 4, 10
	appointments := make([]string, bookers*each)
	started := make(chan struct{}, bookers)
	var bookings errgroup.Group
	for booker := range bookers {
		bookings.Go(func() (err error) {
			for i := range each {
				if appointments[booker*each+i], err = book(t.Context(), s, s.Receivers[i%len(s.Receivers)]); err != nil {
					return err
				}
				if i == each/2 {
					started <- struct{}{}
				}
			}
			return nil
		})
	}
	<-started
	middle()
	require.NoError(t, bookings.Wait())
	return appointments
}
