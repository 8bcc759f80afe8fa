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

// contactKeys are what a contact is looked up by.
type contactKeys struct {
	// phone is the first usable phone number, in E.164 form; email is the first usable e-mail address.
	phone, email string
	// phones are the other ways in which Verity may have that phone number: as it was typed, and other E.164 forms of the line.
	phones []string
	// others are the contact's further phone numbers and e-mail addresses.
	others others
	// unusable says why nothing of what is there can be used, "" where nothing is there. It repeats none of it.
	unusable string
}

type others struct{ phones, emails []string }

// particularsOf reads phone numbers and e-mail addresses as people typed them. The region is that of numbers in national form.
func particularsOf(reach event.Reach, region string) contactKeys {
	var p contactKeys
	why := ""
	for _, typed := range reach.Phones {
		number, ok := phone.E164(typed, region)
		switch {
		case !ok:
			why = cmp.Or(why, "the phone number is unusable: "+phone.Unusable(typed, region))
		case p.phone == "":
			p.phone, p.phones = number, otherForms(typed, number)
		case number != p.phone:
			p.others.phones = append(append(p.others.phones, number), otherForms(typed, number)...)
		}
	}
	noAddress := ""
	for _, typed := range reach.Emails {
		email, ok := phone.Email(typed)
		if !ok {
			noAddress = "the e-mail address is unusable: it holds no address"
			continue
		}
		if strings.EqualFold(strings.TrimSpace(typed), email) {
			email = strings.TrimSpace(typed) // Verity may have it like that.
		} else if storable(typed) {
			p.others.emails = append(p.others.emails, typed)
		}
		if p.email == "" {
			p.email = email
		} else if !strings.EqualFold(email, p.email) {
			p.others.emails = append(p.others.emails, email)
		}
	}
	if p.phone == "" && p.email == "" {
		p.unusable = join(why, noAddress)
	}
	return p
}

// otherForms are the forms of a phone number beside its E.164 form in which Verity may have it.
func otherForms(typed, number string) []string {
	var forms []string
	if typed != number && storable(typed) {
		forms = append(forms, typed)
	}
	return append(forms, phone.Variants(number)...)
}

// storable reports whether a text can be a parameter of a query: Postgres takes no NUL, and nobody stores other control characters.
func storable(text string) bool {
	return len(text) <= ghl.MaxIDLen && !strings.ContainsFunc(text, unicode.IsControl)
}

func join(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
}

func (p contactKeys) empty() bool { return p.phone == "" && p.email == "" }

// or fills in what p lacks.
func (p contactKeys) or(other contactKeys) contactKeys {
	if p.phone == "" {
		p.phone, p.phones = other.phone, other.phones
	}
	p.email = cmp.Or(p.email, other.email)
	p.others = others{
		phones: slices.Concat(p.others.phones, other.others.phones), emails: slices.Concat(p.others.emails, other.others.emails),
	}
	p.unusable = cmp.Or(p.unusable, other.unusable)
	return p
}

// and adds another's phone number and e-mail address behind p's, as further ones.
func (p contactKeys) and(other contactKeys) contactKeys {
	all := p.or(other)
	if other.phone != "" && other.phone != all.phone {
		all.phones = slices.Concat(all.phones, []string{other.phone}, other.phones)
	}
	if other.email != "" && other.email != all.email {
		all.others.emails = append([]string{other.email}, all.others.emails...)
	}
	return all
}
