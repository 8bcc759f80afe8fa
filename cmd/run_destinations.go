package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-logr/logr"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/event"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	"github.com/dfmiddleware/verity-sync/internal/version"
)

// destinations is where events go, as the configuration says. It implements controllers.Planner.
type destinations struct {
	forward *operation.Forward
	syncs   *operation.Syncs
	leads   *verity.Leads

	// breakers are those but GoHighLevel's, of which there is one for each location; ghl is nil where it is not asked.
	breakers []*destination.Breaker
	ghl      *operation.GHL

	// bulkheads bound the calls at a time to what not every event needs; left receives after a call there has ended.
	bulkheads []*destination.Bulkhead
	left      chan struct{}
}

// openDestinations sets up what is configured, for so many events that are worked on at a time. None of it need be up; changed
// is told which are, and must not block.
func openDestinations(ctx context.Context, cfg config.Controller, workers int, db *store.Store, measures *metrics.Controller,
	changed func(name string, up bool), log logr.Logger,
) (*destinations, error) {
	client := destination.NewClient(version.Product())
	breakers := boundedBy(cfg.RetryMaxDelay)
	breakers.Changed = changed
	d := &destinations{left: make(chan struct{}, 1)}
	// What every event needs has no bound: where that hangs, there is nothing else to do.
	breaker := func(name string, calls *destination.Bulkhead) *destination.Breaker {
		measures.Breaker(name, true)
		opts := breakers
		opts.Calls = calls
		b := destination.NewBreaker(name, opts)
		d.breakers = append(d.breakers, b)
		return b
	}
	deps := operation.Dependencies{
		Known:     db,
		EndPolicy: store.EndPolicy{Deletion: cfg.VerityOnDelete == config.Clear, Cancellation: cfg.VerityOnCancel == config.Clear},
		Tags:      cfg.GHLAppointmentTags,
		// Aloware knows a contact by its phone number.
		KeepOnPhoneChange: cfg.AlowareOnPhoneChange == config.KeepContact,
		Regions:           operation.Regions{Default: cfg.DefaultPhoneRegion, Locations: cfg.GHLLocationRegions},
	}
	if cfg.VerityBaseURL != nil {
		forwarder, err := verity.NewForwarder(verity.ForwarderConfig{
			BaseURL: cfg.VerityBaseURL.String(), Secret: cfg.VerityWebhookSecret.Reveal(), Client: client, Now: time.Now,
		})
		if err != nil {
			return nil, fmt.Errorf("set up forwarding: %w", err)
		}
		d.forward = &operation.Forward{Forwarder: forwarder, Breaker: breaker(verity.HTTPDestination, nil)}
	}
	if url := cfg.VerityDatabaseURL.Reveal(); url != "" {
		leads, err := verity.OpenLeads(ctx, verity.LeadsConfig{URL: url})
		if err != nil {
			return nil, permanent(fmt.Errorf("set up Verity's database: %w", err))
		}
		if err := metrics.RegisterPool(ctrlmetrics.Registry, "verity", leads.Stat); err != nil {
			return nil, fmt.Errorf("set up metrics: %w", err)
		}
		d.leads, deps.Leads = leads, leads
		deps.LeadsBreaker = breaker(verity.DatabaseDestination, d.share(verity.DatabaseDestination, workers))
	}
	if token := cfg.AlowareAPIToken.Reveal(); token != "" {
		client, err := aloware.New(aloware.Options{BaseURL: cfg.AlowareBaseURL.String(), Token: token, HTTP: client})
		if err != nil {
			return nil, fmt.Errorf("set up Aloware: %w", err)
		}
		deps.Aloware, deps.AlowareBreaker = client, breaker(aloware.Destination, d.share(aloware.Destination, workers))
	}
	var err error
	breakers.Calls = d.share("ghl", workers) // All locations together: it is one API.
	if deps.GHL, err = openGHL(cfg, client, breakers, db, measures, log); err != nil {
		return nil, err
	}
	d.ghl = deps.GHL
	if d.syncs, err = operation.NewSyncs(deps); err != nil {
		return nil, fmt.Errorf("set up syncs: %w", err)
	}
	return d, nil
}

// How long a destination that is down is left alone before it is tried, and events at most before they are, unless
// RETRY_MAX_DELAY is less.
const (
	breakerOpen    = 10 * time.Second
	breakerMaxWait = 5 * time.Minute
)

// boundedBy returns options of breakers that make nothing wait for longer than the longest delay between attempts, whatever
// is asked for.
func boundedBy(maxDelay time.Duration) destination.BreakerOptions {
	return destination.BreakerOptions{
		Open: min(breakerOpen, maxDelay), MaxWait: min(breakerMaxWait, maxDelay), MaxPause: maxDelay,
	}
}

// share is how many of the workers a destination may keep busy that not every event needs: two of them can hang, and there
// is somebody left for the others.
func (d *destinations) share(name string, workers int) *destination.Bulkhead {
	b := destination.NewBulkhead(name, workers/3, func() {
		select {
		case d.left <- struct{}{}:
		default: // Whoever receives looks at all places.
		}
	})
	d.bulkheads = append(d.bulkheads, b)
	return b
}

// openGHL returns GoHighLevel's API, nil where there is no token for it.
func openGHL(cfg config.Controller, client *http.Client, breakers destination.BreakerOptions, db *store.Store,
	measures *metrics.Controller, log logr.Logger,
) (*operation.GHL, error) {
	var tokens ghlapi.TokenSource
	if token := cfg.GHLAPIToken.Reveal(); token != "" {
		tokens = ghlapi.StaticToken(token)
	}
	if cfg.GHLTokensDir != "" {
		dir, err := ghlapi.NewTokenDir(cfg.GHLTokensDir, tokens, log)
		if err != nil {
			return nil, fmt.Errorf("set up GoHighLevel's tokens: %w", err)
		}
		tokens = dir
	}
	if tokens == nil {
		return nil, nil
	}
	api, err := ghlapi.New(ghlapi.Options{BaseURL: cfg.GHLAPIBaseURL.String(), Tokens: tokens, HTTP: client, Observer: measures})
	if err != nil {
		return nil, fmt.Errorf("set up GoHighLevel's API: %w", err)
	}
	measures.Endpoints(ghlapi.Endpoints())
	return &operation.GHL{API: api, Breakers: operation.NewLocationBreakers(breakers, api.Vouched), Vouchers: db}, nil
}

// Close ends the connections.
func (d *destinations) Close() {
	if d.leads != nil {
		d.leads.Close()
	}
}

// Outages says what holds events back: it is a controllers.Outages.
func (d *destinations) Outages() (down, mayTry []string) {
	breakers := d.breakers
	if d.ghl != nil {
		breakers = append(slices.Clone(breakers), d.ghl.Breakers.All()...)
	}
	return destination.Outages(breakers...)
}

// Capacity says what the limits of calls at a time leave free.
func (d *destinations) Capacity() controllers.Capacity {
	return controllers.Capacity{Left: d.left, Vacancies: func() []destination.Vacancy {
		vacancies := make([]destination.Vacancy, len(d.bulkheads))
		for i, b := range d.bulkheads {
			vacancies[i] = b.Vacancy()
		}
		return vacancies
	}}
}

// Plan implements controllers.Planner.
func (d *destinations) Plan(e *store.Attempt) controllers.Plan {
	if e.Event.Type == event.TypeUnparseable {
		return controllers.Plan{Unparseable: unparseable(e)}
	}
	var plan controllers.Plan
	switch {
	case !e.Forward:
		plan.NoForward = v1alpha1.ForwardedByPredecessorReason
	case d.forward == nil:
		plan.NoForward = v1alpha1.ForwardNotConfiguredReason
	default:
		plan.Forward = d.forward
	}
	plan.Syncs, plan.NoSync = d.syncs.For(e.Event.EntityType)
	return plan
}

// unparseable says why an event cannot be read.
func unparseable(e *store.Attempt) string {
	if fault := source.Of(e.Event.Source).Fault(e.Headers["Content-Type"], e.Body()); fault != "" {
		return fault
	}
	return "the body could not be read when it was received; this release can read it"
}
