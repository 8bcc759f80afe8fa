package store_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// obstacleCase is a database of the legacy middleware with an obstacle.
type obstacleCase struct {
	// sql creates it. NAME stands for a unique name, for objects outside schemas.
	sql string
	// want are the starts of the lines that report it, in any order.
	want []string
	// later is true if the migration would succeed and verity-sync would fail after it.
	later bool
}

var payloadCases = map[string]obstacleCase{
	"a view": {"CREATE VIEW recent AS SELECT id, payload_json FROM webhook_events", []string{"view recent: it reads"}, false},
	"a view of everything, and one on it in another's name": {
		`CREATE VIEW a AS SELECT * FROM webhook_events; CREATE VIEW b AS SELECT id FROM a; CREATE VIEW "C c" AS SELECT id FROM b`,
		[]string{`view "C c": it reads a view`, "view b: it reads a view", "view a: it reads webhook_events.payload_json"}, false,
	},
	"a materialized view": {"CREATE MATERIALIZED VIEW m AS SELECT payload_json ->> 'type' AS t FROM webhook_events", []string{"materialized view m: "}, false},
	"a rule": {
		"CREATE RULE r AS ON UPDATE TO webhook_events WHERE new.payload_json ->> 'a' = 'b' DO ALSO NOTHING", []string{"rule r on table webhook_events: "}, false,
	},
	"a GIN index":          {"CREATE INDEX g ON webhook_events USING gin (payload_json)", []string{"index g: "}, false},
	"a GIN index of paths": {"CREATE INDEX g ON webhook_events USING gin ((payload_json -> 'contact') jsonb_path_ops)", []string{"index g: "}, false},
	"a B-tree on it":       {"CREATE INDEX g ON webhook_events (payload_json)", []string{"index g: "}, false},
	"a hash index":         {"CREATE INDEX g ON webhook_events USING hash (payload_json)", []string{"index g: "}, false},
	"an index on an expression of jsonb": {
		"CREATE INDEX g ON webhook_events (jsonb_typeof(payload_json))", []string{"index g: "}, false,
	},
	"an index where it says so": {
		`CREATE INDEX g ON webhook_events (received_at) WHERE payload_json @> '{"type":"x"}'`, []string{"index g: "}, false,
	},
	"a unique constraint": {"ALTER TABLE webhook_events ADD CONSTRAINT u UNIQUE (source, payload_json)", []string{"constraint u on table webhook_events: "}, false},
	"a generated column": {
		"ALTER TABLE webhook_events ADD COLUMN kind text GENERATED ALWAYS AS (payload_json ->> 'type') STORED",
		[]string{"generated column kind of table webhook_events: "}, false,
	},
	"a check of jsonb": {
		"ALTER TABLE webhook_events ADD CONSTRAINT k CHECK (jsonb_typeof(payload_json) <> 'null')", []string{"constraint k on table webhook_events: "}, false,
	},
	"a check by an operator of jsonb": {
		"ALTER TABLE webhook_events ADD CONSTRAINT k CHECK (NOT payload_json ? 'forbidden')", []string{"constraint k on table webhook_events: "}, false,
	},
	"a trigger's condition": {
		`CREATE TRIGGER t BEFORE UPDATE ON webhook_events FOR EACH ROW WHEN (old.payload_json IS DISTINCT FROM new.payload_json)
			EXECUTE FUNCTION suppress_redundant_updates_trigger()`, []string{"trigger t on table webhook_events: "}, false,
	},
	"a trigger of the column": {
		"CREATE TRIGGER t BEFORE UPDATE OF payload_json ON webhook_events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
		[]string{"trigger t on table webhook_events: "}, false,
	},
	"a policy": {
		"CREATE POLICY p ON webhook_events USING (payload_json ->> 'tenant' = current_user)", []string{"policy p on table webhook_events: "}, false,
	},
	"statistics": {"CREATE STATISTICS s ON source, payload_json FROM webhook_events", []string{"statistics object s: "}, false},
	"statistics of an expression": {
		"CREATE STATISTICS s ON (jsonb_typeof(payload_json)) FROM webhook_events", []string{"statistics object s: "}, false,
	},
	"a publication's columns": {
		"CREATE PUBLICATION NAME FOR TABLE webhook_events (id, payload_json)", []string{"publication of table webhook_events in publication NAME: "}, false,
	},
	"a publication's rows": {
		"CREATE PUBLICATION NAME FOR TABLE webhook_events WHERE (payload_json IS NOT NULL)", []string{"publication of table webhook_events in publication NAME: "}, false,
	},
	"a function in SQL": {
		"CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(payload_json) FROM webhook_events; END", []string{"function f(): "}, false,
	},
	"a column of its rows": {
		"CREATE TABLE archive (id int, event webhook_events, events webhook_events[])",
		[]string{"column event of table archive: ", "column events of table archive: "}, false,
	},
	"a materialized view of its rows": {
		"CREATE MATERIALIZED VIEW m AS SELECT w FROM webhook_events w", []string{"column w of materialized view m: it holds rows of webhook_events"}, false,
	},
}

var tableCases = map[string]obstacleCase{
	"a column that a migration adds":          {"ALTER TABLE webhook_events ADD COLUMN attempts int", []string{"column attempts of table webhook_events: "}, false},
	"one that a later migration adds":         {"ALTER TABLE webhook_events ADD COLUMN held_by int", []string{"column held_by of table webhook_events: "}, false},
	"one in the log":                          {"ALTER TABLE sync_log ADD COLUMN details text", []string{"column details of table sync_log: "}, false},
	"a constraint that a migration adds":      {"ALTER TABLE webhook_events ADD CHECK (status <> 'gone')", []string{"constraint webhook_events_status_check on "}, false},
	"an index that a migration creates":       {"CREATE INDEX sync_log_entity_idx ON sync_log (entity_id)", []string{"index sync_log_entity_idx: "}, false},
	"one that a later migration creates":      {"CREATE INDEX webhook_events_parked_idx ON sync_log (entity_id)", []string{"index webhook_events_parked_idx: "}, false},
	"a table that a migration creates":        {"CREATE TABLE appointments (id int)", []string{"table appointments: "}, false},
	"a view of its name":                      {"CREATE VIEW relay_lease AS SELECT 1 AS one", []string{"view relay_lease: "}, false},
	"a sequence of its name":                  {"CREATE SEQUENCE controller_term", []string{"sequence controller_term: "}, false},
	"a type that a migration creates":         {"CREATE TYPE event_order AS ENUM ('first', 'last')", []string{"type event_order: "}, false},
	"a row type of its name":                  {"CREATE TYPE event_order AS (a int)", []string{"composite type event_order: "}, false},
	"a domain of its name":                    {"CREATE DOMAIN event_order AS int", []string{"type event_order: "}, false},
	"an id that is no uuid":                   {"ALTER TABLE webhook_events ALTER id DROP DEFAULT, ALTER id TYPE text", []string{"column id of table webhook_events: it is text"}, false},
	"a status of a type of its own":           {statusEnum, []string{"column status of table webhook_events: it is status_of"}, true},
	"times without a zone":                    {"ALTER TABLE webhook_events ALTER processed_at TYPE timestamp", []string{"column processed_at of table webhook_events: it is timestamp"}, true},
	"a payload of text":                       {"ALTER TABLE webhook_events ALTER payload_json TYPE text", []string{"column payload_json of table webhook_events: it is text"}, true},
	"a number for an entity":                  {"ALTER TABLE contact_mappings ALTER phone_number TYPE bigint USING NULL", []string{"column phone_number of table contact_mappings: it is bigint"}, true},
	"a column that verity-sync does not fill": {"ALTER TABLE webhook_events ADD tenant text; UPDATE webhook_events SET tenant = 'a'; ALTER TABLE webhook_events ALTER tenant SET NOT NULL", []string{"column tenant of table webhook_events: it is NOT NULL"}, true},
	"a column that may not be NULL":           {"UPDATE sync_log SET target_id = ''; ALTER TABLE sync_log ALTER target_id SET NOT NULL", []string{"column target_id of table sync_log: it is NOT NULL"}, true},
	"an entity in the primary key":            {"ALTER TABLE webhook_events DROP CONSTRAINT webhook_events_pkey, ADD UNIQUE (id), ADD PRIMARY KEY (id, entity_id)", []string{"index webhook_events_pkey: "}, false},
	"an entity in the replica identity":       {"CREATE UNIQUE INDEX r ON sync_log (id, source_id); ALTER TABLE sync_log REPLICA IDENTITY USING INDEX r", []string{"index r: "}, false},
	"no primary key":                          {"ALTER TABLE webhook_events DROP CONSTRAINT webhook_events_pkey", []string{"table webhook_events: id is not unique"}, false},
	"no unique dedupe key":                    {"ALTER TABLE webhook_events DROP CONSTRAINT webhook_events_dedupe_key_key", []string{"table webhook_events: dedupe_key is not unique"}, true},
	"one that is checked later":               {"ALTER TABLE contact_mappings DROP CONSTRAINT contact_mappings_ghl_contact_id_key, ADD UNIQUE (ghl_contact_id) DEFERRABLE", []string{"table contact_mappings: ghl_contact_id is not unique"}, true},
	"a column that is missing":                {"ALTER TABLE webhook_events DROP COLUMN processed_at", []string{"table webhook_events: it lacks processed_at"}, false},
	"another application's table":             {"DROP TABLE sync_log; CREATE TABLE sync_log (id int, line text)", []string{"table sync_log: it lacks direction, entity_type", "column id of table sync_log"}, false},
	"a foreign key to an Aloware contact":     {"CREATE TABLE calls (contact text REFERENCES contact_mappings (aloware_contact_id))", []string{"constraint calls_contact_fkey on table calls: "}, false},
	"a list of statuses":                      {"CREATE TABLE s (s text PRIMARY KEY); INSERT INTO s SELECT DISTINCT status FROM webhook_events WHERE status IS NOT NULL; DELETE FROM s WHERE s = 'x'; ALTER TABLE webhook_events ADD CONSTRAINT l FOREIGN KEY (status) REFERENCES s", []string{"constraint l on table webhook_events: "}, true},
	"a check of the status":                   {"ALTER TABLE sync_log ADD CONSTRAINT l CHECK (status IN ('completed', 'failed'))", []string{`constraint l on table sync_log: it refuses "success"`}, true},
	"a check of the entity":                   {"ALTER TABLE webhook_events ADD CONSTRAINT l CHECK (entity_type = ANY ('{contact,appointment,lead}')) NOT VALID", []string{`constraint l on table webhook_events: it refuses "opportunity"`}, false},
	"a deferred trigger":                      {"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON webhook_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f()", []string{"trigger t on table webhook_events: it is deferred"}, false},
	"a parent":                                {"CREATE TABLE p (payload_json jsonb NOT NULL); ALTER TABLE webhook_events INHERIT p", []string{"table webhook_events: it inherits from p"}, false},
	"row security that binds the owner":       {"ALTER TABLE webhook_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", []string{"table webhook_events: its row security is forced"}, true},
	"a status that is too short":              {"ALTER TABLE webhook_events ALTER status TYPE varchar(9) USING left(status, 9)", []string{"column status of table webhook_events: it holds 9 characters, and verity-sync stores up to 10"}, true},
	"a short message":                         {"ALTER TABLE webhook_events ALTER error_message TYPE varchar(500)", []string{"column error_message of table webhook_events: it holds 500 characters, and verity-sync stores texts of any length"}, true},
	"a short direction":                       {"ALTER TABLE sync_log ALTER direction TYPE varchar(5) USING left(direction, 5)", []string{"column direction of table sync_log: it holds 5 characters"}, true},
	"short directions and ids":                {"ALTER TABLE contact_mappings ALTER sync_direction TYPE varchar(10) USING left(sync_direction, 10), ALTER ghl_contact_id TYPE varchar(255)", []string{"column sync_direction of table contact_mappings: it holds 10 characters", "column ghl_contact_id of table contact_mappings: it holds 255 characters, and verity-sync stores up to 256"}, true},
	"a short dedupe key and a short id":       {"ALTER TABLE webhook_events ALTER dedupe_key TYPE varchar(64), ALTER entity_id TYPE varchar(24)", []string{"column dedupe_key of table webhook_events: it holds 64 characters", "column entity_id of table webhook_events: it holds 24 characters"}, true},
	"a padded id":                             {"ALTER TABLE webhook_events ALTER entity_id TYPE char(36)", []string{"column entity_id of table webhook_events: it is character, and"}, true},
	"a padded primary key":                    {"ALTER TABLE sync_log ALTER id DROP DEFAULT, ALTER id TYPE char(36)", []string{"column id of table sync_log: it is character, and verity-sync needs uuid"}, true},
	"a serial number for an id":               {"ALTER TABLE sync_log DROP COLUMN id, ADD COLUMN id bigserial PRIMARY KEY", []string{"column id of table sync_log: it is bigint, and verity-sync needs uuid"}, false},
	"an identity for an id":                   {"ALTER TABLE webhook_events DROP COLUMN id, ADD COLUMN id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY", []string{"column id of table webhook_events: it is integer, and verity-sync needs uuid"}, false},
	"a domain that is too short":              {"CREATE DOMAIN key AS varchar(64); CREATE DOMAIN delivery_key AS key; ALTER TABLE webhook_events ALTER dedupe_key TYPE delivery_key", []string{"column dedupe_key of table webhook_events: it holds 64 characters"}, true},
	"a domain with a check":                   {"CREATE DOMAIN direction AS text CHECK (VALUE IN ('ghl', 'aloware') OR VALUE LIKE '%_to_%'); ALTER TABLE sync_log ALTER direction TYPE direction", []string{"column direction of table sync_log: it is of the domain direction, whose constraints"}, true},
	"a domain of one with NOT NULL":           {"CREATE DOMAIN given AS text NOT NULL; CREATE DOMAIN target AS given; UPDATE sync_log SET target_id = ''; ALTER TABLE sync_log ALTER target_id TYPE target", []string{"column target_id of table sync_log: it is of the domain target, whose constraints"}, true},
	"a domain of uuid with a check":           {"CREATE DOMAIN known AS uuid CHECK (VALUE::text LIKE '0%'); ALTER TABLE webhook_events ALTER id DROP DEFAULT, ALTER id TYPE known", []string{"column id of table webhook_events: it is of the domain known"}, true},
	"texts in any case":                       {"CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false); ALTER TABLE webhook_events ALTER dedupe_key TYPE text COLLATE caseless", []string{"column dedupe_key of table webhook_events: its collation"}, true},
	"a list of ids":                           {"ALTER TABLE webhook_events ALTER entity_id TYPE text[] USING ARRAY[entity_id]", []string{"column entity_id of table webhook_events: it is text[], and verity-sync needs text"}, false},
	"a numeric source":                        {"ALTER TABLE webhook_events ALTER source TYPE numeric USING 1", []string{"column source of table webhook_events: it is numeric"}, false},
	"attempts of the table's own":             {"ALTER TABLE webhook_events ADD COLUMN attempts smallint NOT NULL DEFAULT 0", []string{"column attempts of table webhook_events: "}, false},
	"a check of the key's length":             {"ALTER TABLE webhook_events ADD CONSTRAINT l CHECK (length(dedupe_key) <= 64)", []string{`constraint l on table webhook_events: it refuses "ghl:unparseable:fff`}, true},
	"a check of the message's length":         {"ALTER TABLE sync_log ADD CONSTRAINT l CHECK (length(error_message) <= 255)", []string{`constraint l on table sync_log: it refuses a text of 1000 characters`}, true},
	"a check of an id":                        {"ALTER TABLE webhook_events ADD CONSTRAINT l CHECK (entity_id !~ '-')", []string{`constraint l on table webhook_events: it refuses "3f2504e0`}, true},
	"a generated column of the tables own":    {"ALTER TABLE sync_log DROP COLUMN target_id, ADD COLUMN target_id text GENERATED ALWAYS AS (entity_type) STORED", []string{"column target_id of table sync_log: it is generated"}, true},
}

const statusEnum = `CREATE TYPE status_of_event AS ENUM ('pending', 'processing', 'done', 'error', 'cancelled');
	ALTER TABLE webhook_events ALTER status DROP DEFAULT, ALTER status TYPE status_of_event USING status::status_of_event,
	ALTER status SET DEFAULT 'pending'`

func TestObstaclesAreReportedBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	for _, cases := range []map[string]obstacleCase{payloadCases, tableCases} {
		for name, tc := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				own := "own_" + strings.ToLower(rand.Text())
				blocked := func() *environment {
					b := unmigrated(t)
					b.exec(strings.ReplaceAll(tc.sql, "NAME", own))
					t.Cleanup(func() { b.cleanUp("DROP PUBLICATION IF EXISTS " + own) })
					return b
				}
				b := blocked()
				before := b.dump()
				obstructed := b.requireObstructed()
				for _, want := range tc.want {
					want = strings.ReplaceAll(want, "NAME", own)
					assert.Contains(t, obstructed.Error(), "\n  "+want)
				}
				assert.Len(t, obstructed.Obstacles, len(tc.want), obstructed.Error())
				assert.Equal(t, len(tc.want), strings.Count(obstructed.Error(), "\n"), "one line for each obstacle")
				assert.Equal(t, before, b.dump(), "nothing was changed")

				for _, o := range obstructed.Obstacles {
					require.NotEmpty(t, o.Statements, o)
					for _, statement := range o.Statements {
						b.exec(statement)
					}
				}
				b.requireMigrated()
				if !tc.later {
					b.exec("DROP PUBLICATION IF EXISTS " + own)
					err := store.MigrateUnchecked(t.Context(), blocked().url, store.MigrateOptions{Normalise: normalise})
					require.Error(t, err, "the obstacle is real")
				}
			})
		}
	}
}

// TestRowTypesOfTablesThatLaterMigrationsAlterAreReportedBeforeAnythingChanges uses databases of the release 0.2.0.
func TestRowTypesOfTablesThatLaterMigrationsAlterAreReportedBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sql  string
		want []string
	}{
		"rows of events":             {"CREATE TABLE a AS SELECT w AS r FROM webhook_events w", []string{"column r of table a: it holds rows of webhook_events"}},
		"rows of appointments":       {"CREATE TABLE a (r appointments)", []string{"column r of table a: it holds rows of appointments"}},
		"rows of contacts in a list": {"CREATE TABLE a (r contact_mappings[])", []string{"column r of table a: it holds rows of contact_mappings"}},
		"within a domain":            {"CREATE DOMAIN d AS webhook_events; CREATE TABLE a (r d)", []string{"column r of table a: it holds rows of webhook_events"}},
		"within another row type":    {"CREATE TYPE c AS (w webhook_events); CREATE TABLE a (r c[])", []string{"column r of table a: it holds rows of webhook_events"}},
		"in a partitioned table":     {"CREATE TABLE a (n int, r appointments) PARTITION BY LIST (n)", []string{"column r of table a: it holds rows of appointments"}},
		"in a materialized view":     {"CREATE MATERIALIZED VIEW m AS SELECT a FROM appointments a", []string{"column a of materialized view m: it holds rows of appointments"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blocked := func() *environment {
				b := unmigrated(t)
				require.NoError(t, store.MigrateTo(t.Context(), b.url, 5, store.MigrateOptions{Normalise: normalise}))
				b.exec(tc.sql)
				return b
			}
			b := blocked()
			before := b.dump()
			obstructed := b.requireObstructed()
			require.Len(t, obstructed.Obstacles, len(tc.want), obstructed.Error())
			for i, want := range tc.want {
				assert.Contains(t, obstructed.Obstacles[i].String(), want)
			}
			assert.Equal(t, before, b.dump(), "nothing was changed")
			for _, o := range obstructed.Obstacles {
				b.exec(o.Statements[0])
			}
			b.requireMigrated()
			require.Error(t, store.MigrateUnchecked(t.Context(), blocked().url, store.MigrateOptions{Normalise: normalise}), "the obstacle is real")
		})
	}
}

// TestObjectsOfUsersInADatabaseOfAnEarlierReleaseAreNoObstacles uses objects that users add to the tables of the release 0.2.0.
func TestObjectsOfUsersInADatabaseOfAnEarlierReleaseAreNoObstacles(t *testing.T) {
	t.Parallel()
	b := unmigrated(t)
	require.NoError(t, store.MigrateTo(t.Context(), b.url, 5, store.MigrateOptions{Normalise: normalise}))
	b.exec(`CREATE VIEW v AS SELECT w.*, w AS whole FROM webhook_events w; CREATE VIEW u AS SELECT whole FROM v;
		CREATE MATERIALIZED VIEW m AS SELECT a.status, w.payload_json FROM appointments a JOIN webhook_events w ON w.entity_id = a.ghl_appointment_id;
		CREATE INDEX own_idx ON webhook_events ((payload_json ->> 'type')); CREATE INDEX times_idx ON appointments (first_at);
		CREATE TABLE notes (event uuid REFERENCES webhook_events, appointment text REFERENCES appointments);
		CREATE FUNCTION kind(webhook_events) RETURNS text LANGUAGE sql AS 'SELECT $1.event_type';
		CREATE TABLE copy () INHERITS (webhook_events); CREATE TABLE orders OF event_order;
		CREATE TRIGGER t BEFORE UPDATE ON webhook_events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
		CREATE STATISTICS s ON source, status FROM webhook_events; CREATE RULE r AS ON DELETE TO contact_mappings DO ALSO NOTHING;
		ALTER TABLE webhook_events ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON webhook_events USING (source = 'ghl');
		ALTER TABLE webhook_events ADD COLUMN tenant text NOT NULL DEFAULT 'a', ADD CONSTRAINT own_check CHECK (run < 1000)`)
	b.requireMigrated()
}

// requireObstructed requires that the dry run and the migration report the same obstacles.
func (b *environment) requireObstructed() *store.ObstructedError {
	b.t.Helper()
	var seen, met *store.ObstructedError
	p, err := store.PreviewMigration(b.t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
	require.ErrorAs(b.t, err, &seen)
	assert.NotEmpty(b.t, p.Pending)
	_, err = store.Migrate(b.t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
	require.ErrorAs(b.t, err, &met)
	assert.Equal(b.t, seen, met)
	return met
}

// requireMigrated requires that the database can be migrated.
func (b *environment) requireMigrated() {
	b.t.Helper()
	_, err := store.PreviewMigration(b.t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
	require.NoError(b.t, err)
	_, err = store.Migrate(b.t.Context(), b.url, store.MigrateOptions{Normalise: normalise})
	require.NoError(b.t, err)
	require.NoError(b.t, b.CheckSchema(b.t.Context()))
	b.commit(b.writer(store.WriterOptions{}), delivery("after", "apt-after", `{}`))
}

// cleanUp runs SQL after the end of the test's context.
func (b *environment) cleanUp(sql string) {
	_, err := b.Pool().Exec(context.WithoutCancel(b.t.Context()), sql)
	assert.NoError(b.t, err)
}

// TestDependentsThatSurviveTheMigrationAreNoObstacles uses the kinds of dependents that Postgres rebuilds with the type json.
func TestDependentsThatSurviveTheMigrationAreNoObstacles(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"an index on a field":             "CREATE INDEX g ON webhook_events ((payload_json ->> 'type'))",
		"an index of a field":             "CREATE INDEX g ON webhook_events (received_at) WHERE payload_json #>> '{a,b}' IS NOT NULL",
		"an index that includes it":       "CREATE INDEX g ON webhook_events (received_at) INCLUDE (payload_json)",
		"a check of a field":              "ALTER TABLE webhook_events ADD CHECK (payload_json ->> 'type' IS DISTINCT FROM 'x')",
		"its default":                     "ALTER TABLE webhook_events ALTER payload_json SET DEFAULT '{}'",
		"json":                            "ALTER TABLE webhook_events ALTER payload_json TYPE json; CREATE INDEX g ON webhook_events (json_typeof(payload_json))",
		"a view of other columns":         "CREATE VIEW v AS SELECT id, status FROM webhook_events",
		"a trigger":                       "CREATE TRIGGER t BEFORE UPDATE ON webhook_events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
		"a policy of another column":      "CREATE POLICY p ON webhook_events USING (source = current_user)",
		"a foreign key to an event":       "CREATE TABLE notes (event uuid REFERENCES webhook_events)",
		"a column with a default":         "ALTER TABLE webhook_events ADD tenant text NOT NULL DEFAULT 'a'",
		"a number that counts by itself":  "ALTER TABLE webhook_events ADD n bigint GENERATED ALWAYS AS IDENTITY",
		"a check of every status":         "ALTER TABLE webhook_events ADD CONSTRAINT c CHECK (status IN ('pending', 'processing', 'done', 'error', 'cancelled'))",
		"varchar":                         "ALTER TABLE webhook_events ALTER entity_id TYPE varchar(256), ALTER dedupe_key TYPE varchar, ALTER error_message TYPE varchar",
		"a domain of text":                "CREATE DOMAIN direction AS varchar(32) DEFAULT 'none'; ALTER TABLE sync_log ALTER direction TYPE direction",
		"a unique index of the new name":  "DROP INDEX contact_mappings_aloware_idx; CREATE UNIQUE INDEX contact_mappings_aloware_contact_id_idx ON contact_mappings (aloware_contact_id)",
		"the index that it has by itself": "CREATE INDEX webhook_events_source_received_at_idx ON webhook_events (source, received_at DESC)",
		"an index that is gone at the end of all migrations, of another table": "CREATE INDEX notes_idx ON sync_log (source_id)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := unmigrated(t)
			b.exec(sql)
			b.requireMigrated()
		})
	}
}

func TestMissingPrivilegesAreReportedBeforeAnythingChanges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		legacy bool
		grant  string
		want   []string
	}{
		"to create tables in the schema": {false, "", []string{"schema {schema}: the role {role} may not create tables in it. Run: GRANT CREATE ON SCHEMA {schema} TO {role}"}},
		"to alter the legacy tables": {true, "GRANT CREATE ON SCHEMA {schema} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}", []string{
			"table contact_mappings: only its owner {owner} may change it", "table sync_log: only its owner", "table webhook_events: only its owner",
		}},
		"to read them": {true, "GRANT CREATE ON SCHEMA {schema} TO {role}", []string{
			"table contact_mappings: only its owner {owner} may change it", "table sync_log: only its owner", "table webhook_events: only its owner",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := unmigrated(t)
			if !tc.legacy {
				b.exec("DROP TABLE webhook_events, sync_log, contact_mappings")
			}
			role := "role_" + strings.ToLower(rand.Text())
			names := strings.NewReplacer("{schema}", value[string](b, "SELECT current_schema()::text"), "{role}", role,
				"{owner}", value[string](b, "SELECT current_user::text"))
			b.exec(names.Replace("CREATE ROLE {role} LOGIN PASSWORD 'a'; GRANT USAGE ON SCHEMA {schema} TO {role};" + tc.grant))
			t.Cleanup(func() { b.cleanUp(names.Replace("DROP OWNED BY {role}; DROP ROLE {role}")) })
			u, err := url.Parse(b.url)
			require.NoError(t, err)
			u.User = url.UserPassword(role, "a")
			limited := &environment{t: t, url: u.String()}

			obstructed := limited.requireObstructed()
			assert.Len(t, obstructed.Obstacles, len(tc.want))
			for _, want := range tc.want {
				assert.Contains(t, obstructed.Error(), "\n  "+names.Replace(want))
			}
			for _, o := range obstructed.Obstacles {
				for _, statement := range o.Statements {
					b.exec(statement)
				}
			}
			_, err = store.Migrate(t.Context(), limited.url, store.MigrateOptions{Normalise: normalise})
			require.NoError(t, err)
		})
	}
}
