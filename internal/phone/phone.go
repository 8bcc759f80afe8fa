// Package phone brings phone numbers and e-mail addresses as people type them into the one form by which contacts of
// different systems are told to be the same. It knows no system in particular.
package phone

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// E164 returns raw in E.164 form ("+12055550142"), and false where it is no phone number. The region (ISO 3166-1
// alpha-2, any case) is that of numbers in national form. Extensions are dropped: E.164 has none.
//
// A number need not be one that is in use: its length has to be right for its country. Numbering plans grow faster than
// anyone's copy of them. One digit repeated, as people type to get past a form, counts only where it is in use: it would
// match others who did the same. A number without a plus sign that is too long for its region is international where
// that makes it one in use: senders lose the plus, or write 00 for it.
func E164(raw, region string) (string, bool) {
	raw = strings.TrimSpace(raw)
	number, fit := parse(raw, strings.ToUpper(region))
	if fit == valid {
		return format(number)
	}
	if digits, ok := bareDigits(raw); ok && (fit == tooLong || strings.HasPrefix(digits, "00")) {
		if international, fit := parse("+"+strings.TrimPrefix(digits, "00"), ""); fit == valid {
			return format(international)
		}
	}
	if fit != possible || repeats(number) {
		return "", false
	}
	return format(number)
}

// fit says how well a string goes as a number of its country.
type fit int

const (
	// unfit: it is no number, or too short, or lacks an area code.
	unfit fit = iota
	// tooLong: it has too many digits, or nothing says which country's it is.
	tooLong
	// possible: its length is right.
	possible
	// valid: it is in a range that is in use.
	valid
)

func parse(raw, region string) (*phonenumbers.PhoneNumber, fit) {
	number, err := phonenumbers.Parse(raw, region)
	switch {
	case errors.Is(err, phonenumbers.ErrInvalidCountryCode):
		return nil, tooLong
	case err != nil:
		return nil, unfit
	case phonenumbers.IsValidNumber(number):
		return number, valid
	}
	switch phonenumbers.IsPossibleNumberWithReason(number) {
	case phonenumbers.IS_POSSIBLE:
		return number, possible
	case phonenumbers.TOO_LONG:
		return number, tooLong
	default:
		return number, unfit
	}
}

// bareDigits returns the digits of a number without a plus sign, and false where there is more to it than digits and
// what people put between them.
func bareDigits(raw string) (string, bool) {
	digits := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("-.()/", r) {
			return -1
		}
		return r
	}, raw)
	return digits, strings.Trim(digits, "0123456789") == ""
}

// maxLength is a plus sign and the 15 digits that E.164 allows.
const maxLength = 16

// format refuses what does not stay as it is when it is read again: the digits after a country code may look like a trunk
// prefix, which every reading would take off.
func format(number *phonenumbers.PhoneNumber) (string, bool) {
	formatted := phonenumbers.Format(number, phonenumbers.E164)
	again, fit := parse(formatted, "")
	if fit < possible || len(formatted) > maxLength || phonenumbers.Format(again, phonenumbers.E164) != formatted {
		return "", false
	}
	return formatted, true
}

func repeats(number *phonenumbers.PhoneNumber) bool {
	national := phonenumbers.GetNationalSignificantNumber(number)
	return strings.Trim(national, national[:1]) == ""
}

// Email returns raw without blanks around it and in lower case, and false where it does not look like an address. The
// check is for what keeps two people apart and rubbish out, not for what a mail server would take.
func Email(raw string) (string, bool) {
	address := strings.ToLower(strings.TrimSpace(raw))
	local, domain, found := strings.Cut(address, "@")
	// 254 bytes is the longest address that SMTP can carry (RFC 5321, 4.5.3.1.3).
	if !found || local == "" || len(address) > 254 || strings.ContainsFunc(address, notInAddresses) {
		return "", false
	}
	if strings.Contains(domain, "@") || strings.Contains(domain, "..") {
		return "", false
	}
	dot := strings.LastIndex(domain, ".")
	if dot < 1 || dot == len(domain)-1 || strings.HasPrefix(domain, ".") {
		return "", false
	}
	return address, true
}

func notInAddresses(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(`,;:<>()[]"\`, r)
}
