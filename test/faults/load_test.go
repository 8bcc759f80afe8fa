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

	"github.com/dfmiddleware/verity-sync/internal/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/internal/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/internal/testenv/system"
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
	*world
	random *rand.Rand
	sender ghlsender.Sender
	people []*person
	// now is its clock: it stands an hour behind, so that nothing happens in the future.
	now   time.Time
	posts sync.WaitGroup
	// prober is another one, at which only probes happen.
	prober *load
}

// person is a contact and what was booked for it.
type person struct {
	id, location, phone string
	version             int
	appointments        []string
}

func newLoad(ctx context.Context, w *world) (*load, error) {
	l, prober := loadOf(w, 1), loadOf(w, 2)
	l.prober = prober
	for i := range locations {
		if err := w.system.AddLocation(locationOf(i)); err != nil {
			return nil, err
		}
	}
	for i := range contacts {
		l.people = append(l.people, personOf(i))
	}
	prober.people = []*person{personOf(contacts)}
	for _, p := range append(prober.people, l.people...) {
		w.system.GHL.PutContact(ghlapi.Contact{ID: p.id, LocationID: p.location, Phone: p.phone})
		// Verity knows its people before the first webhook, so that no attempt is spent on waiting for them.
		if _, err := w.system.VerityDatabase.AddContact(ctx, p.phone, ""); err != nil {
			return nil, fmt.Errorf("make a contact in Verity: %w", err)
		}
	}
	return l, nil
}

func loadOf(w *world, stream uint64) *load {
	sender := *w.system.Sender
	sender.Client = &http.Client{Timeout: postTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: contacts}}
	return &load{world: w, random: randomOf(w.history.Seed, stream), sender: sender, now: time.Now().Add(-time.Hour)}
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
	case n < 35 || len(p.appointments) == 0:
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

// post has a webhook on its way, and one in seven a second time soon after, as GHL does now and then.
func (l *load) post(ctx context.Context, s sending) {
	l.record(func(h *History) { h.Webhooks = append(h.Webhooks, s.Webhook) })
	deliveries := 1
	if l.random.IntN(7) == 0 {
		deliveries = 2
	}
	for range deliveries {
		lag, seed := time.Duration(l.random.IntN(800))*time.Millisecond, l.random.Uint64()
		if deliveries == 1 {
			lag = 0
		}
		l.posts.Go(func() {
			if pause(ctx, lag) {
				l.deliver(ctx, s, randomOf(seed, 0))
			}
		})
	}
}

// deliver posts a webhook, again and again until it is acknowledged, and returns the event's id.
func (l *load) deliver(ctx context.Context, s sending, random *rand.Rand) (id string) {
	poster := system.System{Sender: &l.sender}
	for {
		receiver := l.system.Receivers[random.IntN(len(l.system.Receivers))]
		p := Post{Webhook: s.Key, Receiver: receiver.Name, Start: time.Now()}
		answer, err := poster.Post(ctx, receiver, s.bytes)
		p.End, p.Status, p.ID, p.Outcome = time.Now(), answer.Status, answer.ID, answer.Outcome
		if err != nil {
			p.Err = err.Error()
		} else {
			p.RetryAfter = answer.Header.Get("Retry-After")
		}
		if ctx.Err() != nil {
			return ""
		}
		l.record(func(h *History) { h.Posts = append(h.Posts, p) })
		if p.Status == http.StatusOK {
			return p.ID
		}
		if !pause(ctx, time.Duration(200+random.IntN(300))*time.Millisecond) {
			return ""
		}
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// probe posts an appointment and a contact, and waits until both are shown as Done.
func (l *load) probe(ctx context.Context) (done time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, recoveryTimeout)
	defer cancel()
	p := l.people[0]
	p.appointments = append(p.appointments, fmt.Sprintf("%s-appointment-%d", p.id, len(p.appointments)))
	probes := []sending{l.contact(p), l.appointment(p, "Create", p.appointments[len(p.appointments)-1], "confirmed")}
	ids := make([]string, len(probes))
	var posts sync.WaitGroup
	for i, s := range probes {
		l.record(func(h *History) { h.Webhooks = append(h.Webhooks, s.Webhook) })
		random := randomOf(l.random.Uint64(), 0)
		posts.Go(func() { ids[i] = l.deliver(ctx, s, random) })
	}
	posts.Wait()
	for i, id := range ids {
		for l.watch.doneAt(id).IsZero() {
			if !pause(ctx, tick/5) {
				return time.Time{}, fmt.Errorf("no recovery within %s: the %s %s, posted after, is not done", recoveryTimeout, probes[i].Type, id)
			}
		}
		if at := l.watch.doneAt(id); at.After(done) {
			done = at
		}
	}
	return done, nil
}
