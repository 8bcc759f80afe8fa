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

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

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
	via := system.System{Sender: &l.sender}
	for {
		receiver := l.system.Receivers[random.IntN(len(l.system.Receivers))]
		p := l.attempt(ctx, &via, receiver, receiver.Name, s)
		if p.Status == http.StatusOK {
			return p.ID
		}
		if !pause(ctx, time.Duration(200+random.IntN(300))*time.Millisecond) {
			return ""
		}
	}
}

// attempt posts once.
func (l *load) attempt(ctx context.Context, via *system.System, receiver *system.Process, name string, s sending) Post {
	p := Post{Webhook: s.Key, Receiver: name, Start: time.Now()}
	answer, err := via.Post(ctx, receiver, s.bytes)
	p.End, p.Status, p.ID, p.Outcome = time.Now(), answer.Status, answer.ID, answer.Outcome
	if err != nil {
		p.Err = err.Error()
	} else {
		p.RetryAfter = answer.Header.Get("Retry-After")
	}
	if ctx.Err() == nil {
		l.record(func(h *History) { h.Posts = append(h.Posts, p) })
	}
	return p
}

// pause waits, and reports whether ctx is still valid.
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

// postNow posts a webhook and returns its event's id, once it is acknowledged.
func (l *load) postNow(ctx context.Context, s sending) (id string) {
	l.record(func(h *History) { h.Webhooks = append(h.Webhooks, s.Webhook) })
	return l.deliver(ctx, s, randomOf(l.random.Uint64(), 0))
}

// postUnkeyed posts what a workflow says of a contact, which has no id of its own: what it is called follows from the event that it becomes.
func (l *load) postUnkeyed(ctx context.Context, p *person) error {
	w := Webhook{Type: "workflow", Phone: p.phone, FirstName: "v1", At: time.Now()}
	s := sending{w, l.sender.WorkflowContact(ghlsender.Contact{ID: p.id, Phone: p.phone, FirstName: w.FirstName}, nil)}
	sum := sha256.Sum256(s.bytes.Body)
	aside := load{environment: &environment{system: l.system}, sender: l.sender}
	id := aside.deliver(ctx, s, randomOf(l.random.Uint64(), 0))
	if id == "" {
		return fmt.Errorf("post what a workflow says: %w", ctx.Err())
	}
	w.SHA256, w.Key = hex.EncodeToString(sum[:]), "event:"+id
	l.record(func(h *History) {
		h.Webhooks = append(h.Webhooks, w)
		for _, post := range aside.history.Posts {
			post.Webhook = w.Key
			h.Posts = append(h.Posts, post)
		}
	})
	return nil
}

// postThrough posts through the balancer until ctx ends, whatever the answer.
func (l *load) postThrough(ctx context.Context, b *balancer) *sync.WaitGroup {
	const period = 50 * time.Millisecond
	sender := l.sender
	sender.Client = &http.Client{Timeout: postTimeout, Transport: b}
	via := system.System{Sender: &sender}
	var posts sync.WaitGroup
	posts.Go(func() {
		for pause(ctx, period) {
			s, _ := l.contactOf(ctx)
			l.record(func(h *History) { h.Webhooks = append(h.Webhooks, s.Webhook) })
			random := randomOf(l.random.Uint64(), 0)
			posts.Go(func() {
				ctx := context.WithoutCancel(ctx)
				if l.attempt(ctx, &via, l.system.Receivers[0], Balancer, s).Status != http.StatusOK {
					l.deliver(ctx, s, random)
				}
			})
		}
	})
	return &posts
}

// probe posts something for each destination, and waits until all of it is shown as Done.
func (l *load) probe(ctx context.Context) (done time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, recoveryTimeout)
	defer cancel()
	p := l.people[0]
	p.appointments = append(p.appointments, fmt.Sprintf("%s-appointment-%d", p.id, len(p.appointments)))
	stranger, err := l.stranger(ctx)
	if err != nil {
		return time.Time{}, err
	}
	probes := []sending{l.contact(p), l.appointment(p, "Create", p.appointments[len(p.appointments)-1], "confirmed"), stranger}
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
