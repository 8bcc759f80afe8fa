package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"
	"github.com/nyaruka/phonenumbers"
)

const redacted = "[redacted]"

// Secret is a value that no log line, error or dump shows: however it is printed, it reads "[redacted]".
type Secret string

// Reveal returns the secret itself, for the one place that sends or compares it.
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

// Secrets is a list of which any one is accepted.
type Secrets []Secret

// Reveal returns the secrets themselves.
func (s Secrets) Reveal() []string {
	revealed := make([]string, len(s))
	for i, secret := range s {
		revealed[i] = secret.Reveal()
	}
	return revealed
}

// List is a comma-separated list, without blanks around its elements and without empty ones.
type List []string

// Regions are regions of phone numbers by location: ISO 3166-1 codes by the location's id.
type Regions map[string]string

// OnEnd says what becomes of a lead whose appointment has ended.
type OnEnd string

// The values of VERITY_ON_DELETE and VERITY_ON_CANCEL.
const (
	// Clear takes the appointment off the lead, which falls back to the contact's next live one.
	Clear OnEnd = "clear"
	// Keep leaves the lead pointing at it.
	Keep OnEnd = "keep"
)

// OnPhoneChange says what becomes of Aloware's contact when a contact's phone number has changed.
type OnPhoneChange string

// The values of ALOWARE_ON_PHONE_CHANGE.
const (
	// CreateContact has Aloware create another contact with the new number, or update the one that has it.
	CreateContact OnPhoneChange = "create"
	// KeepContact leaves the contact at Aloware as it is.
	KeepContact OnPhoneChange = "keep"
)

// parsers has every type of variable. Their errors complete the sentence "<VARIABLE>: …" and never quote a secret.
var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[bool]():          parser(parseBool),
	reflect.TypeFor[int]():           parser(parseInt),
	reflect.TypeFor[time.Duration](): parser(ParseDuration),
	reflect.TypeFor[url.URL]():       parser(parseBaseURL),
	reflect.TypeFor[List]():          parser(parseList),
	reflect.TypeFor[Regions]():       parser(parseRegions),
	reflect.TypeFor[OnEnd]():         parser(parseOnEnd),
	reflect.TypeFor[OnPhoneChange](): parser(parseOnPhoneChange),
	reflect.TypeFor[Secret]():        parser(parseSecret),
	reflect.TypeFor[Secrets]():       parser(parseSecrets),
	reflect.TypeFor[DatabaseURL]():   parser(parseDatabaseURL),
}

// parser gives a typed parse function the form that the env library takes.
func parser[T any](parse func(string) (T, error)) env.ParserFunc {
	return func(value string) (any, error) { return parse(value) }
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

// ParseDuration reads Go's durations and, since retention is a matter of days, those that begin with days: 90d, 1d12h.
func ParseDuration(value string) (time.Duration, error) {
	mistake := fmt.Errorf("expected a duration such as 5s, 15m, 72h or 90d, got %q", value)
	count, rest, hasDays := strings.Cut(value, "d")
	if !hasDays {
		count, rest = "0", value
	}
	// 15 bits hold 89 years.
	days, err := strconv.ParseUint(count, 10, 15)
	if err != nil {
		return 0, mistake
	}
	d := time.Duration(days) * day
	if rest == "" {
		return d, nil
	}
	remainder, err := time.ParseDuration(rest)
	sum := d + remainder
	overflown := hasDays && sum < d
	if err != nil || overflown {
		return 0, mistake
	}
	return sum, nil
}

// parseBaseURL refuses user info, which would end up in logs, and a query, which would end up in the middle of a path.
func parseBaseURL(value string) (url.URL, error) {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return url.URL{}, errors.New("expected an absolute http or https URL")
	}
	// A "/" in a password would hide the rest of it, and the @ behind it, in the path.
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
		if _, known := regions[location]; known {
			return nil, fmt.Errorf("expected one region for each location, got several for %q", location)
		}
		regions[location] = region
	}
	return regions, nil
}

func parseOnEnd(value string) (OnEnd, error) {
	switch policy := OnEnd(value); policy {
	case Clear, Keep:
		return policy, nil
	default:
		return "", fmt.Errorf("expected %s or %s, got %q", Clear, Keep, value)
	}
}

func parseOnPhoneChange(value string) (OnPhoneChange, error) {
	switch policy := OnPhoneChange(value); policy {
	case CreateContact, KeepContact:
		return policy, nil
	default:
		return "", fmt.Errorf("expected %s or %s, got %q", CreateContact, KeepContact, value)
	}
}

// parseSecret refuses what no HTTP header can carry: a secret of two lines would fail every single call.
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
