package verity_test

import (
	"context"
	"crypto/rand"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

func TestErrorsOfVeritysSchemaAreClassified(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		alter   string
		class   destination.Class
		message string
	}{
		"no table": {`DROP TABLE leads`, destination.Unavailable, `relation "leads" does not exist (SQLSTATE 42P01)`},
		"no column": {
			`ALTER TABLE leads DROP COLUMN ghl_appointment_id`, destination.Unavailable,
			`column "ghl_appointment_id" of relation "leads" does not exist (SQLSTATE 42703)`,
		},
		"a column of a type that cannot hold an appointment": {
			`ALTER TABLE leads ALTER ghl_appointment_id TYPE bigint USING NULL`, destination.Permanent,
			`the statement is refused (SQLSTATE 22P02)`,
		},
		"a column that is too short": {
			`ALTER TABLE leads ALTER ghl_appointment_id TYPE varchar(3)`, destination.Permanent,
			`the statement is refused (SQLSTATE 22001)`,
		},
		"a check": {
			`ALTER TABLE leads ADD CONSTRAINT no_appointments CHECK (ghl_appointment_id IS NULL)`, destination.Permanent,
			`constraint no_appointments of leads is violated (SQLSTATE 23514)`,
		},
		"a reference to an appointment that does not exist yet": {
			`CREATE TABLE appointments (id text PRIMARY KEY);
			 ALTER TABLE leads ADD CONSTRAINT appointment_fk FOREIGN KEY (ghl_appointment_id) REFERENCES appointments`,
			destination.Transient, `constraint appointment_fk of leads is violated (SQLSTATE 23503)`,
		},
		"an appointment that another contact's lead has": {
			`CREATE UNIQUE INDEX ON leads (ghl_appointment_id);
			 INSERT INTO leads (ghl_appointment_id) VALUES ('apt_ada@example.com')`,
			destination.Permanent, `the lead can be neither updated nor inserted: a unique index, a policy or a trigger forbids it`,
		},
		"a trigger that refuses": {
			`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
			 $$BEGIN RAISE EXCEPTION 'no lead for %', NEW.ghl_appointment_id; END$$;
			 CREATE TRIGGER refuse BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION refuse()`,
			destination.Permanent, `a trigger refuses the change (SQLSTATE P0001)`,
		},
		"a trigger that refuses with an SQLSTATE of the schema": {
			`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
			 $$BEGIN RAISE EXCEPTION 'no lead for %', NEW.ghl_appointment_id USING ERRCODE = '42501'; END$$;
			 CREATE TRIGGER refuse BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION refuse()`,
			destination.Unavailable, `a trigger refuses the change (SQLSTATE 42501)`,
		},
		"a trigger that drops the row": {
			`CREATE FUNCTION forget() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
			 CREATE TRIGGER forget BEFORE INSERT ON leads FOR EACH ROW EXECUTE FUNCTION forget()`,
			destination.Permanent, `the lead can be neither updated nor inserted: a unique index, a policy or a trigger forbids it`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, schemas["uuid"])
			contact := db.contact()
			db.exec(tt.alter)
			_, err := db.open().SyncLead(t.Context(), contact, desire("apt_ada@example.com"))
			assertFailure(t, err, tt.class, tt.message)
		})
	}
}

// assertFailure asserts that an error is from Verity's database and has exactly this class and message.
func assertFailure(t *testing.T, err error, class destination.Class, message string) {
	t.Helper()
	var failure *destination.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, verity.DatabaseDestination, failure.Destination)
	assert.Equal(t, class, failure.Class, "class of %v", err)
	assert.Equal(t, message, failure.Message)
}

func TestFindContactFails(t *testing.T) {
	t.Parallel()

	t.Run("without the table", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, `SELECT`)
		_, _, err := db.open().FindContact(t.Context(), nil, "ada@example.com")
		assertFailure(t, err, destination.Unavailable, `relation "contacts" does not exist (SQLSTATE 42P01)`)
	})
	t.Run("if phone numbers are not text, without repeating one", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, `CREATE TABLE contacts (id int, phone_e164 inet, email text)`)
		_, _, err := db.open().FindContact(t.Context(), []string{"+12055550142"}, "")
		assertFailure(t, err, destination.Permanent, `the statement is refused (SQLSTATE 22P02)`)
	})
	t.Run("when the statement takes too long", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, `CREATE VIEW contacts AS SELECT 1 AS id, '' AS phone_e164, pg_sleep(60)::text AS email`)
		_, _, err := db.open("statement_timeout", "100ms").FindContact(t.Context(), nil, "ada@example.com")
		assertFailure(t, err, destination.Transient, `canceling statement due to statement timeout (SQLSTATE 57014)`)

		leads := openLeads(t, verity.LeadsConfig{URL: db.url, Timeout: 100 * time.Millisecond})
		require.NoError(t, leads.Pool().Ping(t.Context()), "the timeout must not end while a connection is established")
		_, _, err = leads.FindContact(t.Context(), nil, "ada@example.com")
		assertFailure(t, err, destination.Transient, `timed out`)
	})
	t.Run("when the caller cancels", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, err := db.open().FindContact(ctx, nil, "ada@example.com")
		assertFailure(t, err, destination.Transient, `the call was cancelled`)
	})
}

func TestSyncLeadFails(t *testing.T) {
	t.Parallel()

	t.Run("for an id that no contact can have", func(t *testing.T) {
		t.Parallel()
		_, err := newDatabase(t, schemas["uuid"]).open().SyncLead(t.Context(), "ada@example.com", desire("apt_1"))
		assertFailure(t, err, destination.Permanent, `the statement is refused (SQLSTATE 22P02)`)
	})
	t.Run("when Verity locks the lead for too long", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		contact := db.contact()
		db.lead(contact, "")
		theirs, err := db.pool.Begin(t.Context())
		require.NoError(t, err)
		defer theirs.Rollback(t.Context()) //nolint:errcheck // It only held a lock.
		_, err = theirs.Exec(t.Context(), `SELECT FROM leads FOR UPDATE`)
		require.NoError(t, err)
		_, err = db.open("lock_timeout", "100ms").SyncLead(t.Context(), contact, desire("apt_1"))
		assertFailure(t, err, destination.Transient, `canceling statement due to lock timeout (SQLSTATE 55P03)`)
	})
	t.Run("when its backend is terminated, and the next call succeeds", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		contact := db.contact()
		name := "victim_" + rand.Text()
		leads := db.open("application_name", name)
		_, err := leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
			db.exec(`SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1`, name)
			return verity.Desired{AppointmentID: "apt_1"}, nil
		})
		require.Error(t, err)
		assert.Equal(t, destination.Transient, destination.ClassOf(err))
		_, err = leads.SyncLead(t.Context(), contact, desire("apt_2"))
		require.NoError(t, err)
		assert.Equal(t, []string{"apt_2 active"}, db.appointments(contact))
	})
	t.Run("without writing anything, when the caller cancels in the middle", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		contact := db.contact()
		ctx, cancel := context.WithCancel(t.Context())
		leads := db.open()
		_, err := leads.SyncLead(ctx, contact, func(context.Context) (verity.Desired, error) {
			cancel()
			return verity.Desired{AppointmentID: "apt_1"}, nil
		})
		assertFailure(t, err, destination.Transient, `the call was cancelled`)
		assert.Empty(t, db.appointments(contact))
		_, err = leads.SyncLead(t.Context(), contact, desire("apt_1"))
		require.NoError(t, err)
	})
}

// login creates a role that has only USAGE on the schema, and returns it and Verity's URL with it.
func (db *database) login(password string) (account, databaseURL string) {
	db.t.Helper()
	account = "test_" + strings.ToLower(rand.Text())
	db.exec(`CREATE ROLE ` + account + ` LOGIN PASSWORD 'right'`)
	db.t.Cleanup(func() {
		_, err := db.pool.Exec(context.Background(), `DROP OWNED BY `+account+`; DROP ROLE `+account)
		assert.NoError(db.t, err)
	})
	db.exec(`GRANT USAGE ON SCHEMA ` + db.query(`SELECT current_schema`) + ` TO ` + account)
	u, err := url.Parse(db.url)
	require.NoError(db.t, err)
	u.User = url.UserPassword(account, password)
	return account, u.String()
}

func TestAccountsOfVeritysDatabase(t *testing.T) {
	t.Parallel()

	t.Run("a missing privilege that is granted later", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		contact := db.contact()
		account, databaseURL := db.login("right")
		leads := openLeads(t, verity.LeadsConfig{URL: databaseURL})
		_, err := leads.SyncLead(t.Context(), contact, desire("apt_1"))
		assertFailure(t, err, destination.Unavailable, `permission denied for table leads (SQLSTATE 42501)`)

		db.exec(`GRANT SELECT ON contacts TO ` + account + `; GRANT SELECT, INSERT, UPDATE ON leads TO ` + account)
		_, err = leads.SyncLead(t.Context(), contact, desire("apt_1"))
		require.NoError(t, err, "these privileges are sufficient")
		_, _, err = leads.FindContact(t.Context(), []string{"+12055550142"}, "ada@example.com")
		require.NoError(t, err)
	})
	t.Run("a wrong password", func(t *testing.T) {
		t.Parallel()
		_, databaseURL := newDatabase(t, schemas["uuid"]).login("wrong")
		_, err := openLeads(t, verity.LeadsConfig{URL: databaseURL}).SyncLead(t.Context(), "1", desire("apt_1"))
		assertFailure(t, err, destination.Unavailable, `cannot connect: the login is refused (SQLSTATE 28P01)`)
	})
	t.Run("a setting of the session that does not exist", func(t *testing.T) {
		t.Parallel()
		_, err := newDatabase(t, schemas["uuid"]).open("lock_timeout", "soon").SyncLead(t.Context(), "1", desire("apt_1"))
		assertFailure(t, err, destination.Unavailable, `cannot connect: the statement is refused (SQLSTATE 22023)`)
	})
	t.Run("a database that does not exist", func(t *testing.T) {
		t.Parallel()
		u, err := url.Parse(newDatabase(t, schemas["uuid"]).url)
		require.NoError(t, err)
		u.Path = "/nowhere"
		_, err = openLeads(t, verity.LeadsConfig{URL: u.String()}).SyncLead(t.Context(), "1", desire("apt_1"))
		assertFailure(t, err, destination.Unavailable, `cannot connect: database "nowhere" does not exist (SQLSTATE 3D000)`)
	})
	t.Run("a read-only server that becomes writable", func(t *testing.T) {
		t.Parallel()
		db := newDatabase(t, schemas["uuid"])
		contact := db.contact()
		account, databaseURL := db.login("right")
		db.exec(`GRANT SELECT ON contacts TO ` + account + `; GRANT SELECT, INSERT, UPDATE ON leads TO ` + account)
		// Postgres applies the setting at login: a connection stays read-only, like one to a former primary.
		db.exec(`ALTER ROLE ` + account + ` SET default_transaction_read_only = on`)
		leads := openLeads(t, verity.LeadsConfig{URL: databaseURL})
		_, err := leads.SyncLead(t.Context(), contact, desire("apt_1"))
		assertFailure(t, err, destination.Unavailable, `cannot execute UPDATE in a read-only transaction (SQLSTATE 25006)`)

		db.exec(`ALTER ROLE ` + account + ` RESET default_transaction_read_only`)
		_, err = leads.SyncLead(t.Context(), contact, desire("apt_1"))
		require.NoError(t, err)
		assert.Equal(t, []string{"apt_1 active"}, db.appointments(contact))
	})
}

func TestLeadsRecoverAfterARestartOfVeritysDatabase(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresServer(t)
	setUp, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	_, err = setUp.Exec(t.Context(), schemas["bigint"])
	require.NoError(t, err)
	require.NoError(t, setUp.Close(t.Context()))
	leads := openLeads(t, verity.LeadsConfig{URL: server.URL()})
	_, err = leads.SyncLead(t.Context(), "1", desire("apt_1"))
	require.NoError(t, err)

	require.NoError(t, server.Stop(postgres.Immediate))
	_, err = leads.SyncLead(t.Context(), "1", desire("apt_2"))
	require.Error(t, err)
	assert.Contains(t, []destination.Class{destination.Unavailable, destination.Transient}, destination.ClassOf(err))

	require.NoError(t, server.Start(t.Context()))
	result, err := leads.SyncLead(t.Context(), "1", desire("apt_3"))
	require.NoError(t, err)
	assert.Equal(t, verity.Result{Outcome: verity.LeadUpdated, Leads: 1}, result)
}

func TestAHalfOpenConnectionEndsWithTheCall(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["uuid"])
	contact := db.contact()
	u, err := url.Parse(db.url)
	require.NoError(t, err)
	line := newLine(t, u.Host)
	u.Host = line.address
	leads := openLeads(t, verity.LeadsConfig{URL: u.String(), Timeout: time.Second})
	require.NoError(t, leads.Pool().Ping(t.Context()), "the timeout must not end while a connection is established")
	_, err = leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
		line.cut()
		return verity.Desired{AppointmentID: "apt_1"}, nil
	})
	assertFailure(t, err, destination.Transient, `timed out`)
}

// line copies bytes between a client and a server. After cut, it keeps the connections open and copies nothing.
type line struct {
	address string
	cut     context.CancelFunc
}

func newLine(t *testing.T, server string) *line {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	live, cut := context.WithCancel(t.Context())
	pass := func(to, from net.Conn) {
		context.AfterFunc(t.Context(), func() { _ = from.Close() })
		buffer := make([]byte, 4096)
		for {
			n, err := from.Read(buffer)
			if err != nil || live.Err() != nil {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := new(net.Dialer).DialContext(t.Context(), "tcp", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			go pass(client, upstream)
			go pass(upstream, client)
		}
	}()
	return &line{address: listener.Addr().String(), cut: cut}
}
