package operation

import (
	"strings"

	"github.com/nyaruka/phonenumbers"

	"github.com/dfmiddleware/verity-sync/internal/phone"
)

// Regions says which region phone numbers in national form belong to. Regions and countries are ISO 3166 codes of two
// letters.
type Regions struct {
	// Default is that of contacts of whom neither their own country nor that of their location is known.
	Default string
	// Locations has those of locations, by id. It comes before what a payload says of its location, so that all events of a
	// contact lead to one number: most payloads say nothing.
	Locations map[string]string
}

// phoneHints is what is known of where a contact is: the country is the contact's own, locationCountry what the payload
// says of the location.
type phoneHints struct{ country, location, locationCountry string }

// e164 returns the first usable phone number of a text in E.164 form, "" where there is none.
func (r Regions) e164(raw string, of phoneHints) string {
	number, _ := phone.E164(raw, r.of(of))
	return number
}

// of returns the region of a number in national form: the contact's country, else that of the location, else the default region; what is no
// country's code is as good as none.
func (r Regions) of(where phoneHints) string {
	for _, country := range []string{where.country, r.Locations[where.location], where.locationCountry} {
		if phonenumbers.GetCountryCodeForRegion(strings.ToUpper(country)) != 0 {
			return country
		}
	}
	return r.Default
}
