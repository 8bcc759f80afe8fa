package operation

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/phone"
)

// contactKeys are the phone numbers and e-mail addresses by which a contact is looked up.
type contactKeys struct {
	// phone is the first usable phone number in E.164 form; email is the first usable e-mail address.
	phone, email string
	// phones are other forms of that number that Verity may have: the number as typed, and other E.164 forms of the same line.
	phones []string
	// others are the contact's other phone numbers and e-mail addresses.
	others others
	// unusable says why none of the values is usable; "" if one is, or if there are none. It does not repeat the values.
	unusable string
}

type others struct{ phones, emails []string }

// contactKeysOf reads phone numbers and e-mail addresses as people typed them. The region applies to numbers in national form.
func contactKeysOf(reach event.Reach, region string) contactKeys {
	var keys contactKeys
	badPhone, badEmail := "", ""
	for _, typed := range reach.Phones {
		number, ok := phone.E164(typed, region)
		switch {
		case !ok:
			badPhone = cmp.Or(badPhone, "the phone number is unusable: "+phone.Unusable(typed, region))
		case keys.phone == "":
			keys.phone, keys.phones = number, otherForms(typed, number)
		case number != keys.phone:
			keys.others.phones = append(append(keys.others.phones, number), otherForms(typed, number)...)
		}
	}
	for _, typed := range reach.Emails {
		email, ok := phone.Email(typed)
		if !ok {
			badEmail = "the e-mail address is unusable: it contains no valid address"
			continue
		}
		if strings.EqualFold(strings.TrimSpace(typed), email) {
			email = strings.TrimSpace(typed) // Verity may have it in this case.
		} else if storable(typed) {
			keys.others.emails = append(keys.others.emails, typed)
		}
		if keys.email == "" {
			keys.email = email
		} else if !strings.EqualFold(email, keys.email) {
			keys.others.emails = append(keys.others.emails, email)
		}
	}
	if keys.empty() {
		keys.unusable = join(badPhone, badEmail)
	}
	return keys
}

// otherForms returns the forms of a phone number, other than its E.164 form, that Verity may have.
func otherForms(typed, number string) []string {
	var forms []string
	if typed != number && storable(typed) {
		forms = append(forms, typed)
	}
	return append(forms, phone.Variants(number)...)
}

// storable reports whether a text can be a parameter of a query: Postgres rejects NUL, and no stored value has other control characters.
func storable(text string) bool {
	return len(text) <= ghl.MaxIDLen && !strings.ContainsFunc(text, unicode.IsControl)
}

func join(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
}

func (k contactKeys) empty() bool { return k.phone == "" && k.email == "" }

// or returns k with missing values from other.
func (k contactKeys) or(other contactKeys) contactKeys {
	if k.phone == "" {
		k.phone, k.phones = other.phone, other.phones
	}
	k.email = cmp.Or(k.email, other.email)
	k.others = others{
		phones: slices.Concat(k.others.phones, other.others.phones), emails: slices.Concat(k.others.emails, other.others.emails),
	}
	k.unusable = cmp.Or(k.unusable, other.unusable)
	return k
}

// and returns all values of k and other. Those of k come first.
func (k contactKeys) and(other contactKeys) contactKeys {
	all := k.or(other)
	if other.phone != "" && other.phone != all.phone {
		all.phones = slices.Concat(all.phones, []string{other.phone}, other.phones)
	}
	if other.email != "" && other.email != all.email {
		all.others.emails = append([]string{other.email}, all.others.emails...)
	}
	return all
}
