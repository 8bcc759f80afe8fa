package verity_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

func open(t *testing.T, url string) *verity.Database {
	t.Helper()
	db, err := verity.OpenDatabase(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(db.Close)
	return db
}

func TestOpeningTheDatabaseKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	first := open(t, url)
	contact, err := first.AddContact(t.Context(), "+12055550142", "")
	require.NoError(t, err)
	lead, err := first.AddLead(t.Context(), contact, "")
	require.NoError(t, err)
	pointing, err := first.AddLead(t.Context(), contact, "apt_1")
	require.NoError(t, err)

	leads, err := open(t, url).Leads(t.Context())
	require.NoError(t, err)
	require.Len(t, leads, 2)
	assert.Equal(t, lead, leads[0].ID)
	assert.Equal(t, contact, leads[0].ContactID)
	assert.Empty(t, leads[0].AppointmentID)
	assert.True(t, leads[0].LastActivityAt.IsZero())
	assert.Equal(t, pointing, leads[1].ID)
	assert.Equal(t, "apt_1", leads[1].AppointmentID)
}

func TestManyProcessesMayOpenItAtOnce(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			db, err := verity.OpenDatabase(t.Context(), url)
			if err == nil {
				db.Close()
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
}

func TestAContactIsMadeOnce(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t)
	db := open(t, url)

	var group errgroup.Group
	for range 8 {
		group.Go(func() error { return db.EnsureContact(t.Context(), "+12055550142", "ada@example.com") })
	}
	require.NoError(t, group.Wait())
	require.NoError(t, db.EnsureContact(t.Context(), "+12055550142", ""), "known by the phone number")
	require.NoError(t, db.EnsureContact(t.Context(), "", "ADA@example.com"), "known by the address")
	require.NoError(t, db.EnsureContact(t.Context(), "", "bob@example.com"), "another one")

	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	rows, err := conn.Query(t.Context(), `SELECT email, phone_e164 IS NULL FROM contacts ORDER BY email`)
	require.NoError(t, err)
	type contact struct {
		Email   string
		NoPhone bool
	}
	contacts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[contact])
	require.NoError(t, err)
	assert.Equal(t, []contact{{"ada@example.com", false}, {"bob@example.com", true}}, contacts)
}
