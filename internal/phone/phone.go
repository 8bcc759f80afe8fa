// Package phone parses phone numbers and e-mail addresses as people type them. It finds the usable value within other text and returns it
// in canonical form. It knows no particular system.
package phone

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

// E164 returns the first usable phone number of raw in E.164 form ("+12055550142"), and false if there is none. The region (ISO 3166-1
// alpha-2, any case) applies to numbers in national form. Extensions are dropped: E.164 has none. Invisible characters, brackets,
// punctuation, a label ("Mobile: …") and other numbers may be around it.
//
// A number need not be in use, but its length must be right for its country: numbering plans grow faster than copies of them. One
// repeated digit, as people type to get past a form, is usable only if the number is in use: otherwise it would match other people who
// did the same. A number without a plus sign that is too long for its region is read as an international number if that number is in use:
// senders lose the plus sign, or write 00 for it.
func E164(raw, region string) (string, bool) {
	number, _ := read(raw, region)
	return number, number != ""
}

// Unusable says why E164 finds no phone number in raw, without any of its content. It returns "" if E164 finds one.
func Unusable(raw, region string) string {
	_, why := read(raw, region)
	return why
}

// The reasons why a text has no usable number.
const (
	noDigits = "it holds no digits that could be a phone number"
	tooFew   = "it has too few digits, or lacks its area code"
	tooMany  = "it has too many digits, or lacks its country code"
	oneDigit = "it repeats a single digit"
	unstable = "it means different numbers to different readers"
)

// read returns the first usable number of raw, or why there is none.
func read(raw, region string) (number, why string) {
	why = noDigits
	for candidate := range candidates(raw) {
		number, reason := readOne(candidate, strings.ToUpper(region))
		if number != "" {
			return number, ""
		}
		if why == noDigits {
			why = reason
		}
	}
	return "", why
}

// readOne parses a text with one number.
func readOne(raw, region string) (number, why string) {
	parsed, fit := parse(raw, region)
	if fit == tooLong && parsed != nil {
		// Another notation of the same line may be the one in use today.
		for _, variant := range Variants(fmt.Sprintf("+%d%s", parsed.GetCountryCode(), phonenumbers.GetNationalSignificantNumber(parsed))) {
			if today, better := parse(variant, ""); better == valid {
				parsed, fit = today, valid
			}
		}
	}
	if fit != valid {
		if digits, ok := bareDigits(raw); ok && (fit == tooLong || strings.HasPrefix(digits, "00")) {
			if international, better := parse("+"+strings.TrimPrefix(digits, "00"), ""); better == valid {
				parsed, fit = international, valid
			}
		}
	}
	switch {
	case !strings.ContainsFunc(raw, unicode.IsDigit):
		why = noDigits
	case fit == tooLong:
		why = tooMany
	case fit == unfit:
		why = tooFew
	case fit == possible && repeats(parsed):
		why = oneDigit
	default:
		if number, ok := format(parsed); ok {
			return number, ""
		}
		why = unstable
	}
	return "", why
}

// fit says how well a string matches the numbers of its country.
type fit int

const (
	// unfit: not a number, too short, or without an area code.
	unfit fit = iota
	// tooLong: too many digits, or an unknown country.
	tooLong
	// possible: a valid length.
	possible
	// valid: in a range that is in use.
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

// bareDigits returns the digits of a number without a plus sign, and false if it has other characters than digits and the usual separators.
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

// format rejects a number that is not stable when it is parsed again: the digits after a country code may look like a trunk prefix, which
// each parse removes.
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
