package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

const (
	// callTimeout is how long a call of a destination may take, and a little more.
	callTimeout = 11 * time.Second
	// crowd is how many webhooks wait for what is stuck: more than a controller works on at a time.
	crowd = 48
)

// stuckKinds make some events wait, which must not delay others.
func stuckKinds() []kind {
	stuck := Fault{Stuck: stuckEvents}
	return []kind{
		{name: "Verity does not know the contacts of some appointments", does: withUnknownContacts(nil), marks: stuck},
		{name: "a user suspends and resumes WebhookEvents", does: withUnknownContacts(suspendAndResume), marks: stuck},
		{
			name: "Aloware does not answer for many contacts", does: crowded(DestinationAloware, (*load).contactOf), first: true,
			marks: Fault{Destination: DestinationAloware, Stuck: DestinationAloware},
		},
		{
			name: "GoHighLevel does not answer for many unknown contacts", does: crowded(DestinationGHL, (*load).stranger),
			marks: Fault{Destination: DestinationGHL, Stuck: DestinationGHL, Breakers: locations},
		},
	}
}

// withUnknownContacts posts appointments of people whom Verity comes to know only in the end.
func withUnknownContacts(does func(context.Context, *breaking, []string) error) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		const events = 3
		var ids []string
		var unknown []*person
		for range events {
			p := b.load.newcomer()
			s := b.load.appointment(p, "Create", p.id+"-appointment", "confirmed")
			s.Stranger, s.Stuck = true, true
			unknown, ids = append(unknown, p), append(ids, b.load.postNow(ctx, s))
		}
		var err error
		if does == nil {
			pause(ctx, b.long)
		} else {
			err = does(ctx, b, ids)
		}
		for _, p := range unknown {
			_, addErr := b.system.VerityDatabase.AddContact(ctx, p.phone, "")
			err = errors.Join(err, addErr)
		}
		return err
	}
}

// suspendAndResume holds WebhookEvents back, which nothing may be done for meanwhile, and lets them go again.
func suspendAndResume(ctx context.Context, b *breaking, ids []string) error {
	attempts := map[string]int32{}
	for _, id := range ids {
		e, err := b.setSuspended(ctx, id, true)
		if err != nil {
			return err
		}
		if err := until(ctx, "it is shown that "+e.Name+" is suspended", func(ctx context.Context) bool {
			err := b.system.Kubernetes.Get(ctx, client.ObjectKeyFromObject(e), e)
			return err == nil && e.Status.ObservedGeneration == e.Generation && e.Status.Phase == v1alpha1.PhasePending
		}); err != nil {
			return err
		}
		attempts[id] = e.Status.Attempts
	}
	pause(ctx, b.long)
	for _, id := range ids {
		e, err := b.setSuspended(ctx, id, false)
		if err != nil {
			return err
		}
		if e.Status.Attempts != attempts[id] {
			return fmt.Errorf("%s was suspended, and had attempt %d", e.Name, e.Status.Attempts)
		}
	}
	return nil
}

// setSuspended changes what a user may change, and returns the WebhookEvent as it was just after.
func (b *breaking) setSuspended(ctx context.Context, id string, suspended bool) (*v1alpha1.WebhookEvent, error) {
	e := &v1alpha1.WebhookEvent{}
	err := until(ctx, "the WebhookEvent of "+id+" takes a change", func(ctx context.Context) bool {
		name := client.ObjectKey{Namespace: b.system.Namespace, Name: v1alpha1.NameOf("ghl", id)}
		if err := b.system.Kubernetes.Get(ctx, name, e); err != nil {
			return false
		}
		e.Spec.Suspend = suspended
		return b.system.Kubernetes.Update(ctx, e) == nil
	})
	return e, err
}

// crowded makes a destination hang until its callers give up, while more webhooks wait for it than are processed at a time.
func crowded(destination string, next func(*load, context.Context) (sending, error)) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		script := b.destinations[destination].faults(b.environment)
		if err := script.Add(fault.Fault{Kind: fault.Hang, Times: -1, Status: http.StatusOK}); err != nil {
			return fmt.Errorf("script %s: %w", destination, err)
		}
		defer script.Clear()
		for range crowd {
			s, err := next(b.load, ctx)
			if err != nil {
				return err
			}
			b.load.postNow(ctx, s)
		}
		pause(ctx, callTimeout)
		return nil
	}
}
