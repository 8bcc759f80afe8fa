// Package phone reads phone numbers and e-mail addresses as people type them: it finds the usable value in what surrounds
// it and returns it in the one form in which systems agree on it. It knows no system in particular.
package phone

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

// E164 returns the first usable phone number of raw in E.164 form ("+12055550142"), and false where there is none. The
// region (ISO 3166-1 alpha-2, any case) is that of numbers in national form. Extensions are dropped: E.164 has none.
// Around a number there may be invisible characters, brackets, punctuation, a label ("Mobile: …") and other numbers.
//
// A number need not be one that is in use: its length has to be right for its country. Numbering plans grow faster than
// anyone's copy of them. One digit repeated, as people type to get past a form, counts only where it is in use: it would
// match others who did the same. A number without a plus sign that is too long for its region is international where
// that makes it one in use: senders lose the plus, or write 00 for it.
func E164(raw, region string) (string, bool) {
	number, _ := read(raw, region)
	return number, number != ""
}

// Unusable says why E164 finds no phone number in raw, without repeating any of it. It returns "" where E164 finds one.
func Unusable(raw, region string) string {
	_, why := read(raw, region)
	return why
}

// Why a text holds no usable number.
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

// readOne reads a text that holds one number.
func readOne(raw, region string) (number, why string) {
	parsed, fit := parse(raw, region)
	if fit == tooLong && parsed != nil {
		// The other way to write the line may be the one that is in use today.
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
