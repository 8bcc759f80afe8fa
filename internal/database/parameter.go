package database

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// option matches a setting in the parameter "options", which has options of Postgres' command line.
var option = regexp.MustCompile(`(?:-c\s*|--)([\w.-]+)=((?:\\.|\S)*)`)

// parseOptions returns the settings in the parameter "options".
func parseOptions(options string) map[string]string {
	settings := map[string]string{}
	for _, match := range option.FindAllStringSubmatch(options, -1) {
		settings[strings.ReplaceAll(match[1], "-", "_")] = strings.ReplaceAll(match[2], `\`, "")
	}
	return settings
}

// prismaSchema is the parameter with which Prisma's URLs name a schema. Postgres has no such parameter.
const prismaSchema = "schema"

// insteadOfRefused returns what to do about a parameter that a pooler refuses.
func (p *Pool) insteadOfRefused(ctx context.Context, cfg *pgx.ConnConfig, name string) string {
	options := parseOptions(cfg.RuntimeParams["options"])
	wanted := options
	if !strings.EqualFold(name, "options") {
		value, given := parameter(cfg.RuntimeParams, name)
		if !given {
			value, _ = parameter(options, name)
		}
		wanted = map[string]string{name: value}
	}
	maps.DeleteFunc(wanted, func(name, _ string) bool { return p.isOptional(name) })
	bare := cfg.Copy()
	bare.RuntimeParams = map[string]string{}
	conn, err := pgx.ConnectConfig(ctx, bare)
	if err != nil {
		return instead(ctx, nil, cfg.User, wanted)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return instead(ctx, conn, cfg.User, wanted)
}

// instead returns what to do about parameters that a pooler does not pass on: which of them to set for the role, and which of them Postgres
// would reject too. Without a session, the advice is less specific.
func instead(ctx context.Context, session Querier, role string, wanted map[string]string) string {
	var because, statements []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		settable := "user"
		if session != nil {
			const query = `SELECT session_user, coalesce((SELECT context FROM pg_settings WHERE lower(name) = lower($1)), '')`
			if session.QueryRow(ctx, query, pgx.QueryExecModeExec, name).Scan(&role, &settable) != nil {
				settable = "user"
			}
		}
		switch {
		case strings.EqualFold(name, prismaSchema):
			because = append(because, "Postgres has no parameter "+name+"; the schema is that of search_path")
			statements = append(statements, setForRole(role, searchPath, Quote(wanted[name])))
		case settable == "" && !strings.Contains(name, "."):
			because = append(because, "Postgres has no parameter "+name+" that the role may set")
		case settable == "internal", settable == "postmaster", settable == "sighup":
			because = append(because, "a session cannot set "+name)
		default:
			statements = append(statements, setForRole(role, name, wanted[name]))
		}
	}
	advice := "remove it from the URL"
	if because != nil {
		advice += " (" + strings.Join(because, "; ") + ")"
	}
	if statements == nil {
		return advice
	}
	return advice + ", " + strings.Join(statements, ", ") + " and have the pooler reconnect to Postgres, or connect without the pooler"
}

// quotedName is the name of a parameter in a message of Postgres, in any language.
var quotedName = regexp.MustCompile(`"([\w.]+)"`)

// unusable marks the errors of a connection that no retry resolves.
func unusable(err error, cfg *pgx.ConnConfig) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case strings.Contains(strings.ToLower(pg.Message), "statement pooling"):
		return fmt.Errorf("%w: the pooler has pool_mode=statement, which allows no transactions: use pool_mode=transaction or session",
			ErrUnusable)
	case pg.Message == "invalid server parameter": // PgBouncer reports a value that Postgres rejects.
		return fmt.Errorf("%w: Postgres refuses the value of a parameter of the session, such as DateStyle, TimeZone or client_encoding",
			ErrUnusable)
	}
	name := "the parameter"
	if match := quotedName.FindStringSubmatch(pg.Message); match != nil {
		name = match[1]
	}
	var action string
	switch {
	case pg.Code == "42704" && strings.EqualFold(name, prismaSchema):
		schema, _ := parameter(cfg.RuntimeParams, name)
		action = "replace " + name + " in the URL by " + Setting{Name: searchPath, connection: originOf(cfg, name)}.parameter(Quote(schema))
	case pg.Code == "42704": // Unknown parameter.
		action = "remove " + name + " from the URL, or correct it"
	case pg.Code == "22023": // Invalid value.
		action = "correct the value of " + name + " in the URL"
	case pg.Code == "55P02": // A parameter of the server only, such as ssl_min_protocol_version, which libpq has too.
		action = "remove " + name + " from the URL, since a session cannot set it"
	case pg.Code == "42601": // Invalid options.
		action = "correct options in the URL, which take the form -c name=value"
	case pg.Code == "42501" && pg.File == "guc.c":
		action = "remove " + name + " from the URL, since the role may not set it"
	default:
		return err
	}
	return fmt.Errorf("%w: %w: %s", ErrUnusable, err, action)
}
