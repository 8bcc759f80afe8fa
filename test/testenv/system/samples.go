package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
)

// A Sample is a webhook as GHL has posted it, under the name of its file.
type Sample struct {
	Name    string
	Webhook ghlsender.Webhook
}

// Samples returns all samples by name: those of the marketplace are signed, those of workflows carry the secret.
func Samples() ([]Sample, error) {
	pattern, err := repo.Path("internal", "ghl", "testdata", "samples", "*.json")
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("find the samples: none matches %s", pattern)
	}
	var samples []Sample
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read a sample: %w", err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		webhook := ghlsender.Webhook{Body: body, ContentType: "application/json", Signed: strings.HasPrefix(name, "marketplace-")}
		samples = append(samples, Sample{Name: name, Webhook: webhook})
	}
	return samples, nil
}

// SeedSamples makes the people of the samples known, each in one of the ways in which a contact is found, so that every sample can be
// brought to its end.
func (s *System) SeedSamples(ctx context.Context) error {
	for _, location := range []string{
		"0007BWpSzSwfiuSl0tR2", "3jJ0coeqWCZMAosyGQ6K", "ezgb5h8dePEYGiwg0WSu", "jfjNQcRLiD0GRtYG7lxI", "t9Ww7bY1xJJ6ThFHZVPC",
		"ve9EPM428h8vShlRW1KT",
	} {
		if err := s.AddLocation(location); err != nil {
			return err
		}
	}
	// By a mapping: an earlier webhook had the phone number.
	if err := s.Map(ctx, "9NkT25Vor1v4aQatFsv2", "0007BWpSzSwfiuSl0tR2", "+15555550110", ""); err != nil {
		return err
	}
	// By GHL's API. The webhook names no location.
	s.GHL.PutContact(ghlapi.Contact{ID: "test_contact_1736900000000", LocationID: s.Sender.LocationID, Email: "Booked@example.com"})
	// By the payload: "fs5@example.com" is typed in another way here.
	for _, known := range []struct{ phone, email, appointment string }{
		{"+15555550110", "", "earlier"},
		{"", "booked@example.com", ""},
		{"", "FS5@example.com", ""},
		{"+201200000198", "", ""},
	} {
		contact, err := s.VerityDatabase.AddContact(ctx, known.phone, known.email)
		if err == nil && known.appointment != "" {
			_, err = s.VerityDatabase.AddLead(ctx, contact, known.appointment)
		}
		if err != nil {
			return fmt.Errorf("make a contact in Verity: %w", err)
		}
	}
	return nil
}

// Map tells verity-sync the phone number or the e-mail address of a contact of GHL, as if it had learned them before.
func (s *System) Map(ctx context.Context, contactID, locationID, phone, email string) error {
	const query = `INSERT INTO contact_mappings (ghl_contact_id, location_id, phone_number, email)
		VALUES ($1, nullif($2, ''), nullif($3, ''), nullif($4, ''))`
	if _, err := s.Database.Exec(ctx, query, contactID, locationID, phone, email); err != nil {
		return fmt.Errorf("map a contact: %w", err)
	}
	return nil
}
