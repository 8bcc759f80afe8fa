package database

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Setting is the value of a configuration parameter in a session, and its source.
type Setting struct {
	Name, Value string
	// source is the source in pg_settings.
	source string
	login  login
	// levels is the number of levels, such as the role and the database, that set the parameter.
	levels int
	// connection is the part of the connection string that sets the value, if source is the client.
	connection origin
}

// login has the role that logged in, which SET ROLE does not change, and the database. Settings of the server can apply to them.
type login struct {
	role, database string
	pooler         bool
}

// origin is a part of a connection string.
type origin struct {
	// place is "the URL", "options in the URL", "PGOPTIONS", or "" if the connection string does not have the setting.
	place string
	// keywords is true for a connection string of the form "host=… user=…".
	keywords bool
}

// Settings returns the settings of a session by their names.
func (p *Pool) Settings(ctx context.Context, session Querier) (map[string]Setting, error) {
	l := login{pooler: p.behindPooler()}
	if err := session.QueryRow(ctx, `SELECT session_user, current_database()`).Scan(&l.role, &l.database); err != nil {
		return nil, fmt.Errorf("read the role of the session: %w", err)
	}
	rows, err := session.Query(ctx, `
		SELECT s.name, s.setting, s.source, (
			SELECT count(*) FROM pg_db_role_setting d, unnest(d.setconfig) AS c(assignment)
			WHERE lower(split_part(c.assignment, '=', 1)) = lower(s.name)
			  AND (d.setrole = 0 OR d.setrole = (SELECT oid FROM pg_roles WHERE rolname = session_user))
			  AND (d.setdatabase = 0 OR d.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())))
		FROM pg_settings s`)
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	settings := map[string]Setting{}
	s := Setting{login: l}
	_, err = pgx.ForEachRow(rows, []any{&s.Name, &s.Value, &s.source, &s.levels}, func() error {
		s.connection = originOf(p.config, s.Name)
		settings[s.Name] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	return settings, nil
}

// originOf finds a setting in a connection string. A separate parameter overrides one in options.
func originOf(cfg *pgx.ConnConfig, name string) origin {
	text := cfg.ConnString()
	o := origin{keywords: !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://")}
	if _, given := parameter(cfg.RuntimeParams, name); given {
		o.place = "the URL"
		return o
	}
	options := cfg.RuntimeParams["options"]
	if _, given := parameter(parseOptions(options), name); given {
		o.place = "options in the URL"
		if options == os.Getenv("PGOPTIONS") {
			o.place = "PGOPTIONS"
		}
	}
	return o
}

func (s Setting) ofClient() bool { return s.source == "client" || s.source == "session" }

// SetBy describes where the value comes from.
func (s Setting) SetBy() string {
	switch {
	case s.ofClient() && s.connection.place == "PGOPTIONS":
		return "by the environment variable PGOPTIONS"
	case s.ofClient() && s.connection.place == "" && s.login.pooler:
		return "by the pooler"
	case s.ofClient():
		return "by the URL"
	case s.source == "database user":
		return "for the role " + s.login.role + " in the database " + s.login.database
	case s.source == "user":
		return "for the role " + s.login.role
	case s.source == "database":
		return "for the database " + s.login.database
	case s.source == "global":
		return "for all roles"
	default:
		return "in the server's configuration"
	}
}

// Reset returns how to undo the setting. If another level sets the parameter too, and so would apply, the advice is to set a good value.
func (s Setting) Reset(good string) string {
	beneath := s.levels
	switch s.source {
	case "database user", "user", "database", "global":
		beneath--
	case "client", "session":
	default:
		return "change " + s.Name + " in the server's configuration"
	}
	if beneath > 0 {
		return s.Set(good)
	}
	role, database := Quote(s.login.role), Quote(s.login.database)
	switch s.source {
	case "database user":
		return s.inForce(fmt.Sprintf("run ALTER ROLE %s IN DATABASE %s RESET %s", role, database, s.Name))
	case "user":
		return s.inForce(fmt.Sprintf("run ALTER ROLE %s RESET %s", role, s.Name))
	case "database":
		return s.inForce(fmt.Sprintf("run ALTER DATABASE %s RESET %s", database, s.Name))
	case "global":
		return s.inForce("run ALTER ROLE ALL RESET " + s.Name)
	}
	if s.connection.place == "" && s.login.pooler {
		return "remove " + s.Name + " from the pooler's configuration"
	}
	return "remove " + s.Name + " from " + s.place()
}

// Set returns how to set another value: at the level that applies, or for the role, which overrides all levels except the role in a
// database. The value is written as in a connection string.
func (s Setting) Set(value string) string {
	switch {
	case s.ofClient() && s.connection.place == "" && s.login.pooler:
		return fmt.Sprintf("set %s to %s in the pooler's configuration", s.Name, value)
	case s.ofClient():
		parameter := s.parameter(value)
		if place := s.place(); place != "the URL" {
			return fmt.Sprintf("remove %s from %s and add %s to the URL", s.Name, place, parameter)
		}
		return "set " + parameter + " in the URL"
	case s.source == "database user":
		return s.inForce(fmt.Sprintf("run ALTER ROLE %s IN DATABASE %s SET %s = %s",
			Quote(s.login.role), Quote(s.login.database), s.Name, inSQL(s.Name, value)))
	default:
		return s.inForce(setForRole(s.login.role, s.Name, value))
	}
}

func setForRole(role, name, value string) string {
	return fmt.Sprintf("run ALTER ROLE %s SET %s = %s", Quote(role), name, inSQL(name, value))
}

// inForce adds to a statement what makes it apply to the next connection: a pooler keeps sessions that began earlier.
func (s Setting) inForce(statement string) string {
	if s.login.pooler {
		return statement + ", and have the pooler reconnect to Postgres"
	}
	return statement
}

func (s Setting) place() string {
	if s.connection.place == "" {
		return "the URL"
	}
	return s.connection.place
}

// plainName matches a name that needs no quotes in a search_path.
var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// parameter writes the setting as a parameter of the connection string.
func (s Setting) parameter(value string) string {
	if strings.EqualFold(s.Name, searchPath) {
		schemas := SearchPath(value)
		for i, schema := range schemas {
			if !plainName.MatchString(schema) {
				schemas[i] = Quote(schema)
			}
		}
		value = strings.Join(schemas, ",")
	}
	if s.connection.keywords {
		return s.Name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	return s.Name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

const searchPath = "search_path"

var plainValue = regexp.MustCompile(`^(on|off|\d+)$`)

// inSQL converts a value from a connection string to SQL. The elements of a search_path are names.
func inSQL(name, value string) string {
	if strings.EqualFold(name, searchPath) {
		var elements []string
		for _, element := range SearchPath(value) {
			elements = append(elements, Quote(element))
		}
		if elements == nil {
			return "''"
		}
		return strings.Join(elements, ", ")
	}
	if plainValue.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", "''") + "'"
}

var pathElement = regexp.MustCompile(`(?:^|,)\s*(?:"((?:[^"]|"")*)"|([^\s,"]+))\s*`)

// SearchPath returns the schemas that a search_path names, which need not exist; "$user" stands for the schema with the role's name.
func SearchPath(path string) []string {
	var schemas []string
	for _, match := range pathElement.FindAllStringSubmatch(path, -1) {
		if schema := strings.ReplaceAll(match[1], `""`, `"`) + strings.ToLower(match[2]); schema != "" {
			schemas = append(schemas, schema)
		}
	}
	return schemas
}
