package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"
	"github.com/nyaruka/phonenumbers"
)

const redacted = "[redacted]"

// Secret is a value that no log line, error or dump shows: every way to print it shows "[redacted]".
type Secret string

// Reveal returns the secret itself, for the code that sends or compares it.
func (s Secret) Reveal() string { return string(s) }

func (Secret) String() string { return redacted }

// GoString is what %#v prints.
func (s Secret) GoString() string { return s.String() }

// Format covers every verb of package fmt, %x and %q among them.
func (s Secret) Format(f fmt.State, _ rune) { writeString(f, s.String()) }

// MarshalText covers JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue covers log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// writeString ignores the error as package fmt does: a Formatter has nowhere to report it.
func writeString(f fmt.State, s string) { _, _ = io.WriteString(f, s) }

// Secrets is a list of secrets, each of which is accepted.
type Secrets []Secret

// Reveal returns the secrets themselves.
func (s Secrets) Reveal() []string {
	revealed := make([]string, len(s))
	for i, secret := range s {
		revealed[i] = secret.Reveal()
	}
	return revealed
}

// List is a comma-separated list. Blanks around elements and empty elements are dropped.
type List []string

// Regions are regions of phone numbers by location: ISO 3166-1 codes by the location's id.
type Regions map[string]string

// OnEnd is the effect of an ended appointment on its lead.
type OnEnd string

// The values of VERITY_ON_DELETE and VERITY_ON_CANCEL.
const (
	// Clear removes the appointment from the lead, which falls back to the contact's next live appointment.
	Clear OnEnd = "clear"
	// Keep leaves the appointment in the lead.
	Keep OnEnd = "keep"
)

// OnPhoneChange is the effect of a contact's new phone number at Aloware.
type OnPhoneChange string

// The values of ALOWARE_ON_PHONE_CHANGE.
const (
	// CreateContact creates a contact with the new number at Aloware, or updates the contact that has it.
	CreateContact OnPhoneChange = "create"
	// KeepContact leaves the contact at Aloware as it is.
	KeepContact OnPhoneChange = "keep"
)

// A Type names the form of a variable's value.
type Type string

// The types of variables.
const (
	TypeString      Type = "string"
	TypeBoolean     Type = "boolean"
	TypeInteger     Type = "integer"
	TypeDuration    Type = "duration"
	TypeURL         Type = "URL"
	TypeList        Type = "list"
	TypePostgresURL Type = "Postgres URL"
	TypeRegion      Type = "region"
	TypeRegions     Type = "list of location=region"
)

// kind describes the variables of a Go type.
type kind struct {
	// parse reads a value. Its errors complete the sentence "<VARIABLE>: …" and never quote a secret.
	parse  env.ParserFunc
	name   Type
	values []string
	secret bool
}

// kinds has every Go type of variable, apart from string.
var kinds = map[reflect.Type]kind{
	reflect.TypeFor[bool]():          {parse: parser(parseBool), name: TypeBoolean},
	reflect.TypeFor[int]():           {parse: parser(parseInt), name: TypeInteger},
	reflect.TypeFor[time.Duration](): {parse: parser(ParseDuration), name: TypeDuration},
	reflect.TypeFor[url.URL]():       {parse: parser(parseBaseURL), name: TypeURL},
	reflect.TypeFor[List]():          {parse: parser(parseList), name: TypeList},
	reflect.TypeFor[Regions]():       {parse: parser(parseRegions), name: TypeRegions},
	reflect.TypeFor[OnEnd]():         oneOf(Clear, Keep),
	reflect.TypeFor[OnPhoneChange](): oneOf(CreateContact, KeepContact),
	reflect.TypeFor[Secret]():        {parse: parser(parseSecret), name: TypeString, secret: true},
	reflect.TypeFor[Secrets]():       {parse: parser(parseSecrets), name: TypeList, secret: true},
	reflect.TypeFor[DatabaseURL]():   {parse: parser(parseDatabaseURL), name: TypePostgresURL, secret: true},
}

// parser gives a typed parse function the form that the env library takes.
func parser[T any](parse func(string) (T, error)) env.ParserFunc {
	return func(value string) (any, error) { return parse(value) }
}

// oneOf is the kind of a type that has these values only.
func oneOf[T ~string](allowed ...T) kind {
	values := make([]string, len(allowed))
	for i, value := range allowed {
		values[i] = string(value)
	}
	return kind{name: TypeString, values: values, parse: func(value string) (any, error) {
		if !slices.Contains(values, value) {
			return nil, fmt.Errorf("expected %s, got %q", strings.Join(values, " or "), value)
		}
		return T(value), nil
	}}
}

func parseBool(value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("expected true or false, got %q", value)
	}
	return b, nil
}

func parseInt(value string) (int, error) {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("expected a whole number, got %q", value)
	}
	return int(n), nil
}

const day = 24 * time.Hour

// ParseDuration reads Go's durations, and those that begin with days, for retention: 90d, 1d12h.
func ParseDuration(value string) (time.Duration, error) {
	invalid := fmt.Errorf("expected a duration such as 5s, 15m, 72h or 90d, got %q", value)
	count, rest, hasDays := strings.Cut(value, "d")
	if !hasDays {
		count, rest = "0", value
	}
	// 15 bits hold 89 years.
	days, err := strconv.ParseUint(count, 10, 15)
	if err != nil {
		return 0, invalid
	}
	d := time.Duration(days) * day
	if rest == "" {
		return d, nil
	}
	remainder, err := time.ParseDuration(rest)
	sum := d + remainder
	overflow := hasDays && sum < d
	if err != nil || overflow {
		return 0, invalid
	}
	return sum, nil
}

// parseBaseURL rejects user info, because logs show URLs, and a query, because paths are appended to the URL.
func parseBaseURL(value string) (url.URL, error) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return url.URL{}, errors.New("expected an absolute http or https URL")
	}
	// After a "/" in a password, the rest of the password and the @ are in the path.
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(value, "@") {
		return url.URL{}, errors.New("expected a URL without user name, password, query and fragment")
	}
	return *u, nil
}

func parseList(value string) (List, error) {
	var list List
	for element := range strings.SplitSeq(value, ",") {
		if element = strings.TrimSpace(element); element != "" {
			list = append(list, element)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("expected at least one element between the commas")
	}
	return list, nil
}

func parseRegions(value string) (Regions, error) {
	list, err := parseList(value)
	if err != nil {
		return nil, err
	}
	regions := Regions{}
	for _, element := range list {
		location, region, _ := strings.Cut(element, "=")
		location, region = strings.TrimSpace(location), strings.TrimSpace(region)
		if location == "" || !phonenumbers.GetSupportedRegions()[region] {
			return nil, fmt.Errorf("expected a location and its region, such as 2CT6KXT52LRHORZO2RIG=DE, got %q", element)
		}
		if _, exists := regions[location]; exists {
			return nil, fmt.Errorf("expected one region for each location, got several for %q", location)
		}
		regions[location] = region
	}
	return regions, nil
}

// parseSecret rejects what no HTTP header can carry: with a secret of two lines, every call would fail.
func parseSecret(value string) (Secret, error) {
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "", errors.New("expected a single line without control characters")
	}
	return Secret(value), nil
}

func parseSecrets(value string) (Secrets, error) {
	list, err := parseList(value)
	if err != nil {
		return nil, err
	}
	secrets := make(Secrets, len(list))
	for i, element := range list {
		if secrets[i], err = parseSecret(element); err != nil {
			return nil, err
		}
	}
	return secrets, nil
}
