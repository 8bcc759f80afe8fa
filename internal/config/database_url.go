package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DatabaseURL is the URL of a Postgres database. Every way to print it shows user, host and database only.
type DatabaseURL string

// Reveal returns the URL with its password, for pgx.
func (d DatabaseURL) Reveal() string { return string(d) }

func (d DatabaseURL) String() string {
	if d == "" {
		return ""
	}
	cfg, err := parseUnambiguous(string(d))
	if err != nil {
		return redacted
	}
	shown := url.URL{
		Scheme: "postgres",
		User:   url.User(cfg.User),
		Host:   net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))),
		Path:   "/" + cfg.Database,
	}
	return shown.String()
}

// GoString is what %#v prints.
func (d DatabaseURL) GoString() string { return d.String() }

// Format covers every verb of package fmt, %x and %q among them.
func (d DatabaseURL) Format(f fmt.State, _ rune) { writeString(f, d.String()) }

// MarshalText covers JSON and YAML.
func (d DatabaseURL) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// LogValue covers log/slog.
func (d DatabaseURL) LogValue() slog.Value { return slog.StringValue(d.String()) }

// The errors of a database URL. They quote nothing of it, because it is not clear where the password ends.
var (
	errDatabaseURL = errors.New("expected a Postgres URL: postgres://user:password@host:5432/database?sslmode=require; " + percentEncode)
	errAmbiguous   = errors.New("ambiguous, part of the password may be read as a host, database or parameter; " + percentEncode)
	errQuote       = errors.New("ambiguous, part of the password may be read as another parameter; " +
		`quote the password: password='...', and put a backslash before each ' and \ in it`)
)

const percentEncode = "percent-encode special characters in the user name and the password: " +
	"@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, % is %25, & is %26, = is %3D, a space is %20"

// parseDatabaseURL does not return pgx's error, which may quote a part of the password of a malformed URL. The error of a missing
// certificate file has the file's path.
func parseDatabaseURL(value string) (DatabaseURL, error) {
	if _, err := parseUnambiguous(value); err != nil {
		return "", err
	}
	if _, err := pgxpool.ParseConfig(value); err != nil { // It also reads the pool_… parameters.
		return "", errDatabaseURL
	}
	return DatabaseURL(value), nil
}

// parseUnambiguous returns pgx's reading of value. It rejects values that pgx accepts, but that more likely contain a password with
// special characters: pgx would read the rest of such a password as a host, a database or a parameter, and errors of the connection,
// the resolver and Postgres quote those.
func parseUnambiguous(value string) (*pgconn.Config, error) {
	var err error
	if rest, ok := cutScheme(value); ok {
		err = checkURL(rest)
	} else {
		err = checkKeywords(value)
	}
	if err != nil {
		return nil, err
	}
	cfg, err := pgconn.ParseConfig(value)
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, file
	}
	if err != nil {
		return nil, errDatabaseURL
	}
	hosts := []string{cfg.Host}
	for _, f := range cfg.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	if slices.ContainsFunc(hosts, func(h string) bool { return !isHost(h) }) || holdsCredentials(cfg.User) ||
		holdsCredentials(cfg.Database) {
		return nil, errAmbiguous
	}
	return cfg, nil
}

func cutScheme(value string) (string, bool) {
	if rest, ok := strings.CutPrefix(value, "postgres://"); ok {
		return rest, true
	}
	return strings.CutPrefix(value, "postgresql://")
}

// checkURL takes a URL without its scheme. Its only @ ends the password and is before the path: pgx ends the password at the
// first @ and does not look for an @ after a "/".
func checkURL(rest string) error {
	if strings.Count(rest, "@") > 1 {
		return errAmbiguous
	}
	credentials, location, found := strings.Cut(rest, "@")
	if !found {
		location = rest
	} else if strings.Contains(credentials, "/") {
		return errAmbiguous
	}
	_, query, _ := strings.Cut(location, "?")
	afterPassword := false
	for pair := range strings.SplitSeq(query, "&") {
		rawKey, _, _ := strings.Cut(pair, "=")
		key, err := url.PathUnescape(rawKey)
		if err != nil || afterPassword && !isParameter(key) {
			return errAmbiguous
		}
		afterPassword = afterPassword || isPassword(key)
	}
	return nil
}

var (
	keyword   = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)[\s\v]*=[\s\v]*`)
	quoted    = regexp.MustCompile(`(?s)^'(?:[^'\\]|\\.)*'(?:[\s\v]+|$)`)
	plain     = regexp.MustCompile(`(?s)^(?:[^\s\v\\]|\\.)*(?:[\s\v]+|$)`)
	parameter = regexp.MustCompile(`^(?:host|hostaddr|port|dbname|database|user|password|passfile|options|application_name|` +
		`connect_timeout|tcp_user_timeout|keepalives\w*|ssl\w*|gss\w*|krb\w+|require_auth|channel_binding|target_session_attrs|` +
		`load_balance_hosts|service|servicefile|(?:min|max)_protocol_version|pool_\w+|default_query_exec_mode|` +
		`(?:statement|description)_cache_capacity|search_path|client_encoding|timezone|datestyle|\w+_timeout|default_transaction_\w+|` +
		`synchronous_commit|work_mem|jit|role)$`)
)

// checkKeywords takes keywords and values: host=db.example.com user=sync password='it\'s'. Text after a password without quotes is
// a known parameter, or the rest of the password.
func checkKeywords(value string) error {
	afterPassword := false
	for rest := strings.TrimSpace(value); rest != ""; {
		match := keyword.FindStringSubmatch(rest)
		if match == nil {
			if afterPassword {
				return errQuote
			}
			return errDatabaseURL
		}
		key := match[1]
		if afterPassword && !isParameter(key) {
			return errQuote
		}
		rest = rest[len(match[0]):]
		end := plain.FindString(rest)
		if strings.HasPrefix(rest, "'") {
			if end = quoted.FindString(rest); end == "" {
				return errQuote
			}
		} else if isPassword(key) {
			afterPassword = true
		}
		if end == "" && rest != "" {
			return errDatabaseURL
		}
		rest = rest[len(end):]
	}
	return nil
}

func isPassword(key string) bool { return key == "password" || key == "sslpassword" }

// isParameter reports whether key is a parameter of connections, or one that is often set for a session.
func isParameter(key string) bool { return parameter.MatchString(strings.ToLower(key)) }

// isHost reports whether host is a name, an address, or the directory of a socket.
func isHost(host string) bool {
	if strings.HasPrefix(host, "/") {
		return !strings.Contains(host, "@")
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_:%", r)
	})
}

// holdsCredentials reports whether a name of a user or database looks like "user:password", for example because the colon is
// percent-encoded too, or like a URL.
func holdsCredentials(name string) bool { return strings.Contains(name, ":") }
