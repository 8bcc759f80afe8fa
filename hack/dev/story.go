package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// tag is added to contacts who have booked.
const tag = "booked"

// A chapter is posted in order.
type chapter struct {
	title string
	posts []post
}

// A post is a webhook and what must become of it.
type post struct {
	title   string
	webhook ghlsender.Webhook
	// reason is that of the condition Ready in the end: Done, or why it cannot be.
	reason string
	// result is status.result; any will do where it is empty.
	result string
}

// tell makes the people of the story known to the simulators and returns what is posted of them.
func (d *dev) tell(ctx context.Context) ([]chapter, error) {
	if err := d.SeedSamples(ctx); err != nil {
		return nil, err
	}
	samples, err := samples()
	if err != nil {
		return nil, err
	}
	chapters := []chapter{samples}
	for _, chapterOf := range []func(context.Context) (chapter, error){d.ann, d.bob, d.cleo, d.refused} {
		c, err := chapterOf(ctx)
		if err != nil {
			return nil, err
		}
		chapters = append(chapters, c)
	}
	return chapters, nil
}

func samples() (chapter, error) {
	c := chapter{title: "the samples are posted: webhooks as GoHighLevel has sent them"}
	samples, err := system.Samples()
	for _, sample := range samples {
		c.posts = append(c.posts, post{title: sample.Name, webhook: sample.Webhook, reason: v1alpha1.DoneReason})
	}
	return c, err
}

// ann is known by what the webhooks say of her.
func (d *dev) ann(context.Context) (chapter, error) {
	ann := ghlsender.Contact{ID: "ann", FirstName: "Ann", LastName: "Example", Email: "ann@example.com", Phone: "+12025550101"}
	booked := appointment("ann-appointment", ann.ID, "confirmed")
	moved := booked
	moved.Start = booked.Start.Add(24 * time.Hour)
	renamed := ann
	renamed.LastName = "Sample"
	return chapter{title: "Ann books in a workflow, moves the appointment, and changes her name", posts: []post{
		{"booked", d.Sender.WorkflowAppointment(booked, ann), v1alpha1.DoneReason, v1alpha1.ResultLeadInserted},
		{"moved", d.Sender.WorkflowAppointment(moved, ann), v1alpha1.DoneReason, v1alpha1.ResultLeadUpdated},
		{"contact updated", d.Sender.Contact(ghlsender.Update, renamed), v1alpha1.DoneReason, v1alpha1.ResultContactSynced},
	}}, nil
}

// bob has to be looked up: the webhooks of the marketplace have only his id.
func (d *dev) bob(ctx context.Context) (chapter, error) {
	d.GHL.PutContact(ghlapi.Contact{ID: "bob", LocationID: d.Sender.LocationID, Phone: "(202) 555-0102", Country: "US"})
	if _, err := d.VerityDatabase.AddContact(ctx, "+12025550102", ""); err != nil {
		return chapter{}, fmt.Errorf("make a contact in Verity: %w", err)
	}
	booked, cancelled := appointment("bob-appointment", "bob", "confirmed"), appointment("bob-appointment", "bob", "cancelled")
	return chapter{title: "Bob books through a marketplace app and cancels; GoHighLevel is asked who he is", posts: []post{
		{"booked", d.Sender.Appointment(ghlsender.Create, booked), v1alpha1.DoneReason, v1alpha1.ResultLeadInserted},
		{"cancelled", d.Sender.Appointment(ghlsender.Update, cancelled), v1alpha1.DoneReason, v1alpha1.ResultLeadUpdated},
	}}, nil
}

// cleo has been known for long.
func (d *dev) cleo(ctx context.Context) (chapter, error) {
	if err := d.Map(ctx, "cleo", d.Sender.LocationID, "", "cleo@example.com"); err != nil {
		return chapter{}, err
	}
	contact, err := d.VerityDatabase.AddContact(ctx, "", "cleo@example.com")
	if err == nil {
		_, err = d.VerityDatabase.AddLead(ctx, contact, "")
	}
	if err != nil {
		return chapter{}, fmt.Errorf("make a contact in Verity: %w", err)
	}
	booked := appointment("cleo-appointment", "cleo", "confirmed")
	return chapter{title: "Cleo, who has a lead already, books; then the appointment is deleted", posts: []post{
		{"booked", d.Sender.Appointment(ghlsender.Create, booked), v1alpha1.DoneReason, v1alpha1.ResultLeadUpdated},
		{"deleted", d.Sender.Appointment(ghlsender.Delete, booked), v1alpha1.DoneReason, v1alpha1.ResultLeadCleared},
	}}, nil
}

// refused can never succeed: Verity does not want it, and never will.
func (d *dev) refused(context.Context) (chapter, error) {
	const id = "refused-opportunity"
	refuse := fault.Status(http.StatusUnprocessableEntity)
	refuse.Times = -1
	refuse.Match = func(r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		return err == nil && bytes.Contains(body, []byte(id))
	}
	if err := d.Verity.Faults.Add(refuse); err != nil {
		return chapter{}, err
	}
	webhook := d.Sender.Opportunity(ghlsender.Create, ghlsender.Opportunity{ID: id, Name: "Roof", Status: "open"})
	return chapter{title: "an opportunity is created that Verity refuses: its event ends in Error", posts: []post{
		{"refused", webhook, v1alpha1.RejectedReason, ""},
	}}, nil
}

func appointment(id, contact, status string) ghlsender.Appointment {
	now := time.Now()
	return ghlsender.Appointment{
		ID: id, CalendarID: "calendar", ContactID: contact, Status: status, Start: now.Add(72 * time.Hour), UpdatedAt: now,
	}
}
