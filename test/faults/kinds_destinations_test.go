package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// target is a destination that is spoken to over HTTP.
type target struct {
	name, destination string
	// breakers is how many stand before it.
	breakers int
}

var targets = []target{
	{"Verity", DestinationVerity, 1},
	{"Aloware", DestinationAloware, 1},
	{"GoHighLevel", DestinationGHL, locations},
}

// faults are those of the simulator.
func (t *tap) faults(e *environment) *fault.Script {
	switch t.destination {
	case DestinationVerity:
		return &e.system.Verity.Faults
	case DestinationAloware:
		return &e.system.Aloware.Faults
	default:
		return &e.system.GHL.Faults
	}
}

// badAnswer is a way to answer.
type badAnswer struct {
	what string
	f    fault.Fault
	// known says that the status tells Verity's answer, whatever comes after it, and page that it is a web page.
	known, page bool
}

func badAnswers() []badAnswer {
	return []badAnswer{
		{what: "answers 401", f: fault.Status(http.StatusUnauthorized)},
		{what: "answers 403", f: fault.Status(http.StatusForbidden)},
		{what: "answers 404", f: fault.Status(http.StatusNotFound)},
		{what: "answers 408", f: fault.Status(http.StatusRequestTimeout)},
		{what: "answers 422", f: fault.Status(http.StatusUnprocessableEntity)},
		{what: "answers 429 with seconds", f: tooMany("1")},
		{what: "answers 429 with a date", f: tooMany(time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))},
		{what: "answers 429 with an invalid Retry-After", f: tooMany("soon")},
		{what: "answers 429 with more than a year", f: tooMany("99999999999999999999")},
		{what: "answers 429 with a negative Retry-After", f: tooMany("-5")},
		{what: "answers 429 without Retry-After", f: fault.Status(http.StatusTooManyRequests)},
		{what: "answers 500", f: fault.Status(http.StatusInternalServerError)},
		{what: "answers 503 with Retry-After", f: fault.Fault{Kind: fault.Answer, Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"1"}}}},
		{what: "redirects", f: fault.Redirect("http://127.0.0.1:1/elsewhere")},
		{what: "answers with a web page", f: fault.HTML(), page: true},
		{what: "hangs after its headers", f: fault.Fault{Kind: fault.HangAfterHeaders}, known: true},
		{what: "answers with an endless body", f: fault.Fault{Kind: fault.Endless, Header: http.Header{"Content-Type": {"application/json"}}}, known: true},
		{what: "answers with a slow body", f: fault.Fault{Kind: fault.Drip, DelayMillis: 20, Header: http.Header{"Content-Type": {"application/json"}}}, known: true},
		{what: "answers with a truncated body", f: fault.Fault{Kind: fault.Truncate}, known: true},
		{what: "resets connections", f: fault.Fault{Kind: fault.Reset}},
		{what: "loses its answers", f: fault.Fault{Kind: fault.ResetAfterHandling}},
		{what: "does not answer", f: fault.Fault{Kind: fault.Hang}},
	}
}

func tooMany(retryAfter string) fault.Fault {
	f := fault.Status(http.StatusTooManyRequests)
	f.Header.Set("Retry-After", retryAfter)
	return f
}

func destinationKinds() (all []kind) {
	for _, t := range targets {
		down := Fault{Destination: t.destination, Breakers: t.breakers}
		for _, a := range badAnswers() {
			marks := down
			switch {
			case a.page && t.destination == DestinationVerity:
				continue // Verity's 200 counts for the checker, and a page in its place is another's.
			case a.known && t.destination == DestinationVerity:
				marks = Fault{}
			case a.f.Status == http.StatusUnprocessableEntity && t.destination != DestinationGHL:
				marks.Rejects = t.destination
			}
			all = append(all, kind{name: t.name + " " + a.what, does: failing(t.destination, a.f), marks: marks, lane: t.destination})
		}
		add := func(what string, does func(context.Context, *breaking) error) {
			all = append(all, kind{name: t.name + " " + what, does: does, marks: down, lane: t.destination})
		}
		add("refuses connections", refusing(t.destination))
		add("resets accepted connections", resets(t.destination))
		add("flaps", flapping(t.destination))
		all = append(all, kind{
			name: t.name + " does not answer until the timeout", does: timingOut(t.destination), marks: down, lane: t.destination,
			slow: "a call may take 10 seconds",
		})
	}
	return append(all,
		kind{name: "the names of the destinations are unknown", does: elsewhere(func(string) string { return "http://verity-sync.invalid" })},
		kind{name: "the destinations' certificates are not trusted", does: untrusted},
	)
}

// met waits until the destination was called, so that a fault that met no call does not count as survived.
func (b *breaking) met(ctx context.Context, destination string, since int64) error {
	tap := b.destinations[destination]
	return until(ctx, destination+" is called", func(context.Context) bool { return tap.calls.Load() > since })
}

func failing(destination string, f fault.Fault) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		tap := b.destinations[destination]
		script, before := tap.faults(b.environment), tap.calls.Load()
		f.Times = -1
		if err := script.Add(f); err != nil {
			return fmt.Errorf("script %s: %w", destination, err)
		}
		defer script.Clear()
		if err := b.met(ctx, destination, before); err != nil {
			return err
		}
		pause(ctx, b.long)
		return nil
	}
}

// timingOut is longer than a call may take.
func timingOut(destination string) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		b.long = callTimeout
		return failing(destination, fault.Fault{Kind: fault.Hang})(ctx, b)
	}
}

func refusing(destination string) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		door := b.destinations[destination].door
		err := door.shut()
		pause(ctx, b.long)
		return errors.Join(err, door.open(ctx))
	}
}

// resets has connections reset before anything is said on them. Those that there are are closed, so that new ones are made.
func resets(destination string) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		door := b.destinations[destination].door
		before := door.knocks.Load()
		door.resets.Store(true)
		defer door.resets.Store(false)
		if err := errors.Join(door.shut(), door.open(ctx)); err != nil {
			return err
		}
		if err := until(ctx, destination+" is called", func(context.Context) bool { return door.knocks.Load() > before }); err != nil {
			return err
		}
		pause(ctx, b.long)
		return nil
	}
}

// flapping fails every few hundred milliseconds.
func flapping(destination string) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		tap := b.destinations[destination]
		script, before := tap.faults(b.environment), tap.calls.Load()
		f := fault.Status(http.StatusBadGateway)
		f.Times = -1
		for end := time.Now().Add(b.long); time.Now().Before(end) || tap.calls.Load() == before; {
			if err := script.Add(f); err != nil {
				return fmt.Errorf("script %s: %w", destination, err)
			}
			pause(ctx, 6*tick)
			script.Clear()
			if !pause(ctx, 6*tick) {
				return nil
			}
		}
		return nil
	}
}

// elsewhere has the controllers run with other addresses of the destinations for a while.
func elsewhere(address func(destination string) string) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		right := map[string]string{}
		for destination, tap := range b.destinations {
			right[destination] = tap.door.url()
		}
		err := b.readdress(ctx, address)
		pause(ctx, b.long)
		return errors.Join(err, b.readdress(ctx, func(destination string) string { return right[destination] }))
	}
}

// readdress restarts the controllers, one after the other, with other addresses of the destinations.
func (b *breaking) readdress(ctx context.Context, address func(destination string) string) error {
	return within(ctx, func(ctx context.Context) error {
		var failures []error
		for _, r := range b.controllers() {
			failures = append(failures, r.end(func() error {
				defer func() { r.broken = false }()
				err := r.Stop()
				for destination, tap := range b.destinations {
					r.Env[tap.variable] = address(destination)
				}
				return errors.Join(err, r.Start(ctx))
			}, false))
		}
		return errors.Join(failures...)
	})
}

// untrusted makes the destinations show a certificate of an unknown authority.
func untrusted(ctx context.Context, b *breaking) error {
	impostor := httptest.NewUnstartedServer(http.NotFoundHandler())
	impostor.Config.ErrorLog = log.New(io.Discard, "", 0)
	impostor.StartTLS()
	defer impostor.Close()
	return elsewhere(func(string) string { return impostor.URL })(ctx, b)
}
