package cycle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

const (
	// An appointment has three events, each updateAfter events after the one before.
	eventsAnAppointment, updateAfter = 3, 1000
	// Notes have up to notesMost bytes, and those of one webhook notesStep more than those of the one before.
	notesMost, notesStep = 1000, 370
	// idLength is that of GoHighLevel's ids.
	idLength = 20
)

// Webhook makes the webhook number i of a burst: it books an appointment of one of so many contacts, or changes one that an earlier webhook
// has booked. Bodies have 570 to 1,570 bytes.
func Webhook(sender *ghlsender.Sender, i, contacts int, now time.Time) ghlsender.Webhook {
	round := i / updateAfter % eventsAnAppointment
	appointment, typ := i-round*updateAfter, "AppointmentCreate"
	if round > 0 {
		typ = "AppointmentUpdate"
	}
	// Ids are as random as GoHighLevel's, so that they go into an index anywhere.
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(appointment))) //nolint:gosec // It is not negative.
	at := now.UTC().Format(time.RFC3339Nano)
	return sender.Marketplace(typ, map[string]any{"appointment": map[string]any{
		"id": hex.EncodeToString(hash[:])[:idLength], "contactId": fmt.Sprintf("contact-%d", appointment%contacts),
		"calendarId": "calendar", "title": "Consultation", "appointmentStatus": "confirmed", "source": "booking_widget",
		"users":     []string{},
		"startTime": now.Add(24 * time.Hour).Format(time.RFC3339), "endTime": now.Add(25 * time.Hour).Format(time.RFC3339),
		"dateAdded": at, "dateUpdated": at, "notes": strings.Repeat("word ", i*notesStep%notesMost/len("word ")),
	}})
}
