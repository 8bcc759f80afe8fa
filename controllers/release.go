package controllers

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// Outages says which destinations hold events back, and which of those may be tried again.
type Outages func() (down, mayTry []string)

// Capacity says at which destinations a limit of calls at a time can keep events waiting, and how much is free there.
type Capacity struct {
	Vacancies func() []destination.Vacancy
	// Left receives after a call has ended. It may miss calls that end together.
	Left <-chan struct{}
}

// Releaser lets events go on that wait for a destination, long before their own time: one at a time as long as it is open
// whether the destination answers again, and once it does all of them, oldest first, at the pace at which they are done.
// So an outage of hours is over about as soon as what has piled up is done. Events that wait for their turn at a destination
// go on as calls end there, the oldest first. Reconciler, Namespace and Outages are required.
type Releaser struct {
	Reconciler *WebhookEventReconciler
	Namespace  string
	Outages    Outages
	// Capacity is zero where nothing limits the calls at a time.
	Capacity Capacity
	// Every is how often it looks whether something has changed; 500 ms by default. That alone costs the database nothing.
	Every time.Duration
	// Batch is how many events may be due and not yet claimed for having been let go; 256 by default. It keeps most of the
	// house free for new events, and few have to turn back should the destination fail again.
	Batch int
	// Recheck is how often it asks the database though nothing has changed; 30 s by default. An attempt that was under way
	// when its destination came back is recorded after the fact.
	Recheck time.Duration
	Log     logr.Logger

	// lastDown is what was down when the database was last asked, at asked. more is true where it may have more to let go.
	lastDown []string
	asked    time.Time
	more     bool
	// queues has what is known of the events that wait for places, by the places' name.
	queues map[string]*turns
}

// turns is when the database was last asked for events that wait for places, and whether it may have more.
type turns struct {
	asked time.Time
	more  bool
	// onTheWay counts the released events whose calls have not been tried yet, of tried calls in all. The places that they need are still
	// free, and are not for others.
	onTheWay, tried int
}

// free returns how many places are free for further events.
func (q *turns) free(v destination.Vacancy) int {
	q.onTheWay = max(0, q.onTheWay-(v.Tried-q.tried))
	if time.Since(q.asked) > recentlyRefused {
		q.onTheWay = 0 // They will not come: suspended meanwhile, for instance.
	}
	q.tried = v.Tried
	return max(0, v.Free-q.onTheWay)
}

// recentlyRefused is how long after a call was turned away the event is on record as waiting, by all means.
const recentlyRefused = 10 * time.Second

// NeedLeaderElection makes the manager run it on the leader only.
func (*Releaser) NeedLeaderElection() bool { return true }

// Start releases until ctx ends. A leader begins with all breakers closed: what waited for the one before it goes on.
func (r *Releaser) Start(ctx context.Context) error {
	r.Every = cmp.Or(r.Every, 500*time.Millisecond)
	r.Batch = cmp.Or(r.Batch, 256)
	r.Recheck = cmp.Or(r.Recheck, 30*time.Second)
	r.queues = map[string]*turns{}
	ticker := time.NewTicker(r.Every)
	defer ticker.Stop()
	next := r.look
	for {
		if err := next(ctx); err != nil && ctx.Err() == nil {
			r.Log.Info("what waits for a destination could not be let go and waits for its own time meanwhile", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			next = r.look
		case <-r.Capacity.Left:
			next = r.fill
		}
	}
}

func (r *Releaser) look(ctx context.Context) error { return errors.Join(r.release(ctx), r.fill(ctx)) }

// fill has as many events go on as there are free places, at each destination for which events may wait.
func (r *Releaser) fill(ctx context.Context) error {
	for _, v := range r.vacancies() {
		q := r.queues[v.Places]
		if q == nil {
			q = &turns{}
			r.queues[v.Places] = q
		}
		free := q.free(v)
		if free == 0 || !q.more && time.Since(v.Refused) > recentlyRefused && time.Since(q.asked) < r.Recheck {
			continue
		}
		released, more, err := r.Reconciler.Rows.ReleaseForPlaces(ctx, v.Places, free)
		if err != nil {
			return err
		}
		q.asked, q.more = time.Now(), more
		q.onTheWay += len(released)
		r.wake(ctx, released)
	}
	return nil
}

func (r *Releaser) vacancies() []destination.Vacancy {
	if r.Capacity.Vacancies == nil {
		return nil
	}
	return r.Capacity.Vacancies()
}

func (r *Releaser) release(ctx context.Context) error {
	down, mayTry := r.Outages()
	slices.Sort(down)
	if !slices.Equal(down, r.lastDown) || r.more || time.Since(r.asked) >= r.Recheck {
		// What waits for a place waits for that to be free, whatever is up.
		heldBack := slices.Clone(down)
		for _, v := range r.vacancies() {
			heldBack = append(heldBack, v.Places)
		}
		released, more, err := r.Reconciler.Rows.ReleaseHeld(ctx, heldBack, r.Batch)
		if err != nil {
			return err
		}
		r.lastDown, r.asked, r.more = down, time.Now(), more
		r.wake(ctx, released)
	}
	if len(mayTry) == 0 {
		return nil
	}
	released, err := r.Reconciler.Rows.ReleaseToTry(ctx, mayTry)
	if err != nil {
		return err
	}
	r.wake(ctx, released)
	return nil
}

// wake has the events that were let go reconciled. If the process dies before, the next leader reconciles all there are. One that was
// parked comes back as a new WebhookEvent, which needs no waking; but its old one may be there still, since it changed as it was to go.
func (r *Releaser) wake(ctx context.Context, released []store.Released) {
	for _, e := range released {
		name := types.NamespacedName{Namespace: r.Namespace, Name: v1alpha1.NameOf(e.Source, e.ID.String())}
		if e.Dispatched || r.Reconciler.Client.Get(ctx, name, &v1alpha1.WebhookEvent{}) == nil {
			r.Reconciler.wake(ctx, name.Namespace, name.Name)
		}
	}
}
