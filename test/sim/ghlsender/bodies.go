package ghlsender

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
)

const jsonType = "application/json"

// Action is the last word of a marketplace type.
type Action string

// The actions of marketplace types that have all three.
const (
	Create Action = "Create"
	Update Action = "Update"
	Delete Action = "Delete"
)

// Appointment has the fields of an appointment in a webhook.
type Appointment struct {
	ID, CalendarID, ContactID string
	// Status is "confirmed", "cancelled" and so on.
	Status    string
	Start     time.Time
	UpdatedAt time.Time
}

// Contact has the fields of a contact in a webhook.
type Contact struct {
	ID, FirstName, LastName, Email, Phone string
	Tags                                  []string
}

// Opportunity has the fields of an opportunity in a webhook.
type Opportunity struct {
	ID, ContactID, Name, PipelineID, StageID, Status string
}

// Marketplace builds any marketplace webhook: an envelope with a fresh webhookId and the time, around fields.
func (s *Sender) Marketplace(typ string, fields map[string]any) Webhook {
	body := map[string]any{
		"type":       typ,
		"locationId": s.LocationID,
		"versionId":  s.AppID,
		"appId":      s.AppID,
		"timestamp":  timestamp(time.Now()),
		"webhookId":  uuid.NewString(),
	}
	maps.Copy(body, fields)
	return Webhook{Body: encode(body), ContentType: jsonType, Signed: true}
}

// Appointment builds AppointmentCreate and the like. A cancellation is an Update with the status "cancelled".
func (s *Sender) Appointment(action Action, a Appointment) Webhook {
	return s.Marketplace("Appointment"+string(action), map[string]any{
		"appointment": map[string]any{
			"id":                a.ID,
			"address":           "https://example.com/meeting",
			"title":             "Consultation",
			"calendarId":        a.CalendarID,
			"contactId":         a.ContactID,
			"appointmentStatus": a.Status,
			"users":             []string{},
			"source":            "booking_widget",
			"startTime":         a.Start.Format(time.RFC3339),
			"endTime":           a.Start.Add(30 * time.Minute).Format(time.RFC3339),
			"dateAdded":         timestamp(a.UpdatedAt),
			"dateUpdated":       timestamp(a.UpdatedAt),
		},
	})
}

// Contact builds ContactCreate and the like.
func (s *Sender) Contact(action Action, c Contact) Webhook {
	return s.Marketplace("Contact"+string(action), map[string]any{
		"id":        c.ID,
		"firstName": c.FirstName,
		"lastName":  c.LastName,
		"name":      strings.TrimSpace(c.FirstName + " " + c.LastName),
		"email":     c.Email,
		"phone":     c.Phone,
		"tags":      append([]string{}, c.Tags...),
		"country":   "US",
		"dnd":       false,
	})
}

// Opportunity builds OpportunityCreate and the like.
func (s *Sender) Opportunity(action Action, o Opportunity) Webhook {
	return s.Marketplace("Opportunity"+string(action), map[string]any{
		"id":              o.ID,
		"contactId":       o.ContactID,
		"name":            o.Name,
		"pipelineId":      o.PipelineID,
		"pipelineStageId": o.StageID,
		"status":          o.Status,
	})
}

// WorkflowAppointment builds what a workflow posts when an appointment of c is booked or changes. A reschedule is the
// same appointment with another start.
func (s *Sender) WorkflowAppointment(a Appointment, c Contact) Webhook {
	c.ID = a.ContactID
	body := s.workflow(c)
	body["calendar"] = map[string]any{
		"id":               a.CalendarID,
		"calendarName":     "Consultations",
		"title":            "Consultation",
		"appointmentId":    a.ID,
		"selectedTimezone": "UTC",
		"startTime":        a.Start.UTC().Format("2006-01-02T15:04:05"),
		"endTime":          a.Start.UTC().Add(30 * time.Minute).Format("2006-01-02T15:04:05"),
		"status":           "booked",
		"appoinmentStatus": a.Status, // GHL's spelling.
		"date_created":     timestamp(a.UpdatedAt),
	}
	return Webhook{Body: encode(body), ContentType: jsonType}
}

// WorkflowContact builds what a workflow of a contact trigger posts, with the custom data that people add.
func (s *Sender) WorkflowContact(c Contact, customData map[string]string) Webhook {
	body := s.workflow(c)
	body["customData"] = customData
	return Webhook{Body: encode(body), ContentType: jsonType}
}

// workflow is what all bodies of workflows have in common.
func (s *Sender) workflow(c Contact) map[string]any {
	return map[string]any{
		"contact_id":   c.ID,
		"first_name":   c.FirstName,
		"last_name":    c.LastName,
		"full_name":    strings.TrimSpace(c.FirstName + " " + c.LastName),
		"email":        c.Email,
		"phone":        c.Phone,
		"tags":         strings.Join(c.Tags, ","),
		"contact_type": "lead",
		"location":     map[string]any{"id": s.LocationID, "name": "Example Location"},
		"workflow":     map[string]any{"id": uuid.NewString(), "name": "Example Workflow"},
		"triggerData":  map[string]any{},
		"customData":   map[string]any{},
	}
}

// timestamp writes a time as GHL does, in UTC and milliseconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func encode(body map[string]any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // Callers pass what JSON has a form for.
	}
	return text
}
