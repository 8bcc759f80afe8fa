package operation

import (
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/dfmiddleware/verity-sync/internal/phone"
)

// Regions are the regions of phone numbers in national form. Regions and countries are ISO 3166 codes of two letters.
type Regions struct {
	// Default is the region of contacts whose own country and whose location's country are unknown.
	Default string
	// Locations has the regions of locations, by id. It takes precedence over the location's country in a payload, so that all
	// events of a contact lead to the same number: most payloads have no country.
	Locations map[string]string
}

// phoneHints are what the region of a contact's phone numbers follows from. The country is the contact's, and the locationCountry
// is the location's according to the payload.
type phoneHints struct{ country, location, locationCountry string }

// e164 returns the first usable phone number in a text in E.164 form, or "" if there is none.
func (r Regions) e164(raw string, hints phoneHints) string {
	number, _ := phone.E164(raw, r.of(hints))
	return number
}

// of returns the region of a number in national form: the contact's country, else the location's, else the default region. A value
// that is no country's code is ignored.
func (r Regions) of(hints phoneHints) string {
	for _, country := range []string{hints.country, r.Locations[hints.location], hints.locationCountry} {
		if phonenumbers.GetCountryCodeForRegion(strings.ToUpper(country)) != 0 {
			return country
		}
	}
	return r.Default
}
