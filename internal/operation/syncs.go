package operation

import (
	"errors"

	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Dependencies are what syncs work with.
type Dependencies struct {
	Known ContactStore
	// Leads is Verity's database, nil where it is not configured; LeadsBreaker stands before it.
	Leads        Leads
	LeadsBreaker *destination.Breaker
	// EndPolicy say which appointments have ended.
	EndPolicy store.EndPolicy
	// GHL is GoHighLevel's API, nil where it is not configured.
	GHL *GHL
	// Tags are added to the contact of an appointment; none where this is empty.
	Tags []string
	// Aloware is nil where it is not configured; AlowareBreaker stands before it.
	Aloware        Aloware
	AlowareBreaker *destination.Breaker
	// KeepOnPhoneChange leaves Aloware's contact alone where the contact's phone number has changed.
	KeepOnPhoneChange bool
	// Regions are those of phone numbers in national form. The default must be there.
	Regions Regions
}

// Syncs says which operations reflect an event where its entity lives.
type Syncs struct{ appointment, contact []Operation }

// NewSyncs checks the dependencies and makes the operations that they allow for.
func NewSyncs(d Dependencies) (*Syncs, error) {
	switch {
	case d.Known == nil || d.Regions.Default == "":
		return nil, errors.New("syncs need what is known of contacts, and a default region of phone numbers")
	case d.Leads != nil && d.LeadsBreaker == nil, d.Aloware != nil && d.AlowareBreaker == nil:
		return nil, errors.New("syncs need a breaker before each destination")
	case d.GHL != nil && (d.GHL.API == nil || d.GHL.Breakers == nil):
		return nil, errors.New("GoHighLevel's API needs a client and breakers")
	case len(d.Tags) > 0 && (d.GHL == nil || d.Leads == nil):
		return nil, errors.New("tags need GoHighLevel's API and Verity's database: they are added after a lead was synced")
	}
	s := &Syncs{contact: []Operation{
		&Contact{Known: d.Known, Aloware: d.Aloware, Breaker: d.AlowareBreaker, GHL: d.GHL, Regions: d.Regions,
			KeepOnPhoneChange: d.KeepOnPhoneChange},
	}}
	if d.Leads != nil {
		s.appointment = append(s.appointment, &Lead{
			Known: d.Known, Leads: d.Leads, Breaker: d.LeadsBreaker, GHL: d.GHL, EndPolicy: d.EndPolicy, Regions: d.Regions,
		})
	}
	if len(d.Tags) > 0 {
		s.appointment = append(s.appointment, &Tags{Known: d.Known, GHL: d.GHL, Tags: d.Tags, EndPolicy: d.EndPolicy})
	}
	return s, nil
}

// For returns the operations that an event about such an entity asks for besides its forward, each to be run only once the
// one before has succeeded, in this attempt or an earlier one. Where there are none, why says so to people.
func (s *Syncs) For(entityType string) (operations []Operation, why string) {
	switch {
	case entityType == event.EntityContact:
		return s.contact, ""
	case entityType != event.EntityAppointment:
		return nil, "nothing is synced for events of this type"
	case len(s.appointment) == 0:
		return nil, "VERITY_DATABASE_URL is not set: leads are not synced"
	default:
		return s.appointment, ""
	}
}
