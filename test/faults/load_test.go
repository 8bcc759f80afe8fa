package faults

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

const (
	// rate is how many webhooks GHL posts in a second, repetitions not counted: a backlog builds up within seconds, and a machine of two
	// cores is through with it soon enough, with the race detector.
	rate = 8
	// locations and contacts are few, so that many webhooks are about the same ones.
	locations = 3
	contacts  = 40
	// postTimeout is how long GHL waits for an answer.
	postTimeout = 10 * time.Second
)

// load is a GoHighLevel on which things happen, always the same for a seed.
type load struct {
	*environment
	random *rand.Rand
	sender ghlsender.Sender
	people []*person
	// now is its clock: it stands an hour behind, so that nothing happens in the future.
	now   time.Time
	posts sync.WaitGroup
	// prober is another one, at which only probes happen, and what faults need.
	prober *load
	// strangers are contacts that GHL and Verity know, and that no webhook has named.
	strangers chan *person
	// turn is whose turn it is among the people, and newcomers how many there have been.
	turn, newcomers int
}

// person is a contact and what was booked for it.
type person struct {
	id, location, phone string
	version             int
	appointments        []string
}

func newLoad(ctx context.Context, e *environment) (*load, error) {
	l, prober := loadOf(e, 1), loadOf(e, 2)
	l.prober = prober
	l.strangers = make(chan *person, 2*crowd)
	prober.strangers = l.strangers
	for i := range locations {
		if err := e.system.AddLocation(locationOf(i)); err != nil {
			return nil, err
		}
	}
	for i := range contacts {
		l.people = append(l.people, personOf(i))
	}
	for i := range crowd {
		prober.people = append(prober.people, personOf(contacts+i))
	}
	for _, p := range append(prober.people, l.people...) {
		if err := l.introduce(ctx, p); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// introduce adds a contact to GHL and to Verity, so that no attempt waits until Verity has it.
func (l *load) introduce(ctx context.Context, p *person) error {
	l.system.GHL.PutContact(ghlapi.Contact{ID: p.id, LocationID: p.location, Phone: p.phone})
	if _, err := l.system.VerityDatabase.AddContact(ctx, p.phone, ""); err != nil {
		return fmt.Errorf("make a contact in Verity: %w", err)
	}
	return nil
}

// introduceStrangers has always some at hand, until ctx ends. Where Verity's database is away, it waits.
func (l *load) introduceStrangers(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		p := &person{id: fmt.Sprintf("stranger-%d", i), location: locationOf(i % locations), phone: fmt.Sprintf("+1646%07d", 2_000_000+i)}
		for l.introduce(ctx, p) != nil && pause(ctx, 4*tick) {
			continue
		}
		select {
		case l.strangers <- p:
		case <-ctx.Done():
		}
	}
}

// newcomer is a contact that Verity does not know.
func (l *load) newcomer() *person {
	l.newcomers++
	p := &person{
		id: fmt.Sprintf("newcomer-%d", l.newcomers), location: locationOf(l.newcomers % locations),
		phone: fmt.Sprintf("+1917%07d", 2_000_000+l.newcomers),
	}
	l.system.GHL.PutContact(ghlapi.Contact{ID: p.id, LocationID: p.location, Phone: p.phone})
	return p
}

func loadOf(e *environment, stream uint64) *load {
	sender := *e.system.Sender
	sender.Client = &http.Client{Timeout: postTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: contacts}}
	return &load{environment: e, random: randomOf(e.history.Seed, stream), sender: sender, now: time.Now().Add(-time.Hour)}
}

// randomOf is the same for the same seed, which is the point.
func randomOf(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream))
}

func personOf(i int) *person {
	return &person{id: fmt.Sprintf("contact-%d", i), location: locationOf(i % locations), phone: fmt.Sprintf("+1212555%04d", 1000+i)}
}

func locationOf(i int) string { return fmt.Sprintf("location-%d", i) }

// run posts webhooks until ctx ends, and returns once all of them have been acknowledged.
func (l *load) run(ctx, posting context.Context) {
	ticker := time.NewTicker(time.Second / rate)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			l.posts.Wait()
			return
		case <-ticker.C:
			l.post(posting, l.happen())
		}
	}
}

// sending is a webhook and the bytes of it.
type sending struct {
	Webhook
	bytes ghlsender.Webhook
}

// happen makes the next thing happen at GHL.
func (l *load) happen() sending {
	p := l.people[l.random.IntN(len(l.people))]
	switch n := l.random.IntN(100); {
	case n < 2:
		return l.appointment(p, "Create", "", "confirmed")
	case n < 12:
		select {
		case stranger := <-l.strangers:
			return l.firstOf(stranger)
		default:
			return l.contact(p) // Verity's database has been away for long.
		}
	case n < 40 || len(p.appointments) == 0:
		return l.contact(p)
	case n < 60:
		id := fmt.Sprintf("%s-appointment-%d", p.id, len(p.appointments))
		p.appointments = append(p.appointments, id)
		return l.appointment(p, "Create", id, "confirmed")
	case n < 80:
		return l.appointment(p, "Update", l.anyOf(p), "confirmed")
	case n < 92:
		return l.appointment(p, "Update", l.anyOf(p), "cancelled")
	default:
		return l.appointment(p, "Delete", l.anyOf(p), "deleted")
	}
}

func (l *load) anyOf(p *person) string { return p.appointments[l.random.IntN(len(p.appointments))] }

// stranger is an appointment of a contact whom only GHL can name.
func (l *load) stranger(ctx context.Context) (sending, error) {
	select {
	case p := <-l.strangers:
		return l.firstOf(p), nil
	case <-ctx.Done():
		return sending{}, fmt.Errorf("wait for a stranger: %w", ctx.Err())
	}
}

func (l *load) firstOf(p *person) sending {
	s := l.appointment(p, "Create", p.id+"-appointment", "confirmed")
	s.Stranger = true
	return s
}

// contactOf changes one contact after the other.
func (l *load) contactOf(context.Context) (sending, error) {
	l.turn++
	return l.contact(l.people[l.turn%len(l.people)]), nil
}

func (l *load) contact(p *person) sending {
	p.version++
	name := fmt.Sprintf("v%d", p.version)
	return l.marketplace(p, "ContactUpdate", Webhook{FirstName: name}, map[string]any{"id": p.id, "firstName": name, "phone": p.phone})
}

// appointment is an appointment's webhook; one without an id can never be synced.
func (l *load) appointment(p *person, action, id, status string) sending {
	w := Webhook{Appointment: id, Status: status, Invalid: id == ""}
	shown := status
	if action == "Delete" {
		shown = "confirmed"
	}
	return l.marketplace(p, "Appointment"+action, w, map[string]any{"appointment": map[string]any{
		"id": id, "contactId": p.id, "calendarId": "calendar", "appointmentStatus": shown, "startTime": l.now.Format(time.RFC3339),
	}})
}

func (l *load) marketplace(p *person, typ string, w Webhook, fields map[string]any) sending {
	l.now = l.now.Add(time.Millisecond * time.Duration(1+l.random.IntN(50)))
	var id uuid.UUID
	for i := range id {
		id[i] = byte(l.random.Uint32())
	}
	w.Key, w.Type, w.Phone, w.At = id.String(), typ, p.phone, l.now.Truncate(time.Millisecond)
	fields["webhookId"], fields["timestamp"], fields["locationId"] = w.Key, w.At.UTC().Format("2006-01-02T15:04:05.000Z"), p.location
	sent := sending{w, l.sender.Marketplace(typ, fields)}
	sum := sha256.Sum256(sent.bytes.Body)
	sent.SHA256 = hex.EncodeToString(sum[:])
	return sent
}
