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

// whereabouts is what is known of where a contact is: the country is the contact's own, locationCountry what the payload
// says of the location.
type whereabouts struct{ country, location, locationCountry string }

// e164 returns a phone number in E.164 form, "" where it is none. A number in national form belongs to the contact's country,
// else to that of the location, else to the default region; what is no country's code is as good as none.
func (r Regions) e164(raw string, of whereabouts) string {
	region := r.Default
	for _, country := range []string{of.country, r.Locations[of.location], of.locationCountry} {
		if phonenumbers.GetCountryCodeForRegion(strings.ToUpper(country)) != 0 {
			region = country
			break
		}
	}
	number, _ := phone.E164(raw, region)
	return number
}
