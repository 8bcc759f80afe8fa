package plan

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	ghlapi "github.com/dfmiddleware/verity-sync/internal/ghl/api"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
	"github.com/dfmiddleware/verity-sync/internal/version"
	"github.com/dfmiddleware/verity-sync/internal/webhooksink"
)

// unit is an operation and its set-up.
type unit struct {
	spec operation.Spec
	// open returns nil if the operation is not configured.
	open func(*setup) (operation.Operation, error)
}

// units are all operations, in the order in which they run.
var units = []unit{
	{operation.ForwardSpec, openForward},
	{operation.LeadSpec, openLead},
	{operation.TagsSpec, openTags},
	{operation.ContactSpec, openContact},
	{webhooksink.Spec, openWebhookSink},
}

// ErrVerityDatabase says that VERITY_DATABASE_URL cannot be used, which no retry changes.
var ErrVerityDatabase = errors.New("set up Verity's database")

// Metrics are the metrics of destinations; *metrics.Controller implements it.
type Metrics interface {
	ghlapi.Observer
	Breaker(destination string, up bool)
	Endpoints(endpoints []string)
}

// Options are the dependencies of Open. All are required.
type Options struct {
	Config config.Controller
	// Workers is the number of events that are processed at the same time.
	Workers int
	Store   *store.Store
	Metrics Metrics
	// Changed is called when a breaker opens or closes. It must not block.
	Changed func(name string, up bool)
	Log     logr.Logger
}

// setup has what the units share.
type setup struct {
	Options
	planner   *Planner
	client    *http.Client
	ghl       *operation.GHL
	regions   operation.Regions
	endPolicy store.EndPolicy
}

func newSetup(ctx context.Context, o Options) (*setup, error) {
	cfg := o.Config
	s := &setup{
		Options: o, planner: &Planner{released: make(chan struct{}, 1)}, client: destination.NewClient(version.Product()),
		regions:   operation.Regions{Default: cfg.DefaultPhoneRegion, Locations: cfg.GHLLocationRegions},
		endPolicy: store.EndPolicy{Deletion: cfg.VerityOnDelete == config.Clear, Cancellation: cfg.VerityOnCancel == config.Clear},
	}
	if err := s.openGHL(); err != nil {
		return nil, err
	}
	if url := cfg.VerityDatabaseURL.Reveal(); url != "" {
		leads, err := verity.OpenLeads(ctx, verity.LeadsConfig{URL: url})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrVerityDatabase, err)
		}
		s.planner.leads = leads
	}
	return s, nil
}

func openForward(s *setup) (operation.Operation, error) {
	if s.Config.VerityBaseURL == nil {
		return nil, nil
	}
	forwarder, err := verity.NewForwarder(verity.ForwarderConfig{
		BaseURL: s.Config.VerityBaseURL.String(), Secret: s.Config.VerityWebhookSecret.Reveal(), Client: s.client, Now: time.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("set up forwarding: %w", err)
	}
	return &operation.Forward{Forwarder: forwarder, Breaker: s.breaker(verity.HTTPDestination)}, nil
}

func openLead(s *setup) (operation.Operation, error) {
	if s.planner.leads == nil {
		return nil, nil
	}
	return &operation.Lead{
		Store: s.Store, Leads: s.planner.leads, Breaker: s.limitedBreaker(verity.DatabaseDestination), GHL: s.ghl,
		EndPolicy: s.endPolicy, Regions: s.regions,
	}, nil
}

func openTags(s *setup) (operation.Operation, error) {
	switch {
	case len(s.Config.GHLAppointmentTags) == 0:
		return nil, nil
	case s.ghl == nil || s.planner.leads == nil:
		return nil, errors.New("set up syncs: tags need GoHighLevel's API and Verity's database: they are added after a lead was synced")
	}
	return &operation.Tags{Store: s.Store, GHL: s.ghl, Tags: s.Config.GHLAppointmentTags, EndPolicy: s.endPolicy}, nil
}

// openContact always returns an operation: without Aloware it stores contacts.
func openContact(s *setup) (operation.Operation, error) {
	op := &operation.Contact{
		Store: s.Store, GHL: s.ghl, Regions: s.regions, KeepOnPhoneChange: s.Config.AlowareOnPhoneChange == config.KeepContact,
	}
	if token := s.Config.AlowareAPIToken.Reveal(); token != "" {
		client, err := aloware.New(aloware.Options{BaseURL: s.Config.AlowareBaseURL.String(), Token: token, HTTP: s.client})
		if err != nil {
			return nil, fmt.Errorf("set up Aloware: %w", err)
		}
		op.Aloware, op.Breaker = client, s.limitedBreaker(aloware.Destination)
	}
	return op, nil
}

func openWebhookSink(s *setup) (operation.Operation, error) {
	sink := s.Config.WebhookSink
	if sink.WebhookSinkURL == nil {
		return nil, nil
	}
	return webhooksink.New(webhooksink.Options{
		URL: sink.WebhookSinkURL.String(), Secret: sink.WebhookSinkSecret.Reveal(), AllowPrivate: sink.WebhookSinkAllowPrivate,
		Product: version.Product(), Breaker: s.limitedBreaker(webhooksink.Destination),
	})
}

// openGHL sets up GoHighLevel's API if there is a token for it.
func (s *setup) openGHL() error {
	var tokens ghlapi.TokenSource
	if token := s.Config.GHLAPIToken.Reveal(); token != "" {
		tokens = ghlapi.StaticToken(token)
	}
	if s.Config.GHLTokensDir != "" {
		dir, err := ghlapi.NewTokenDir(s.Config.GHLTokensDir, tokens, s.Log)
		if err != nil {
			return fmt.Errorf("set up GoHighLevel's tokens: %w", err)
		}
		tokens = dir
	}
	limit := s.limit("ghl") // One API has one limit for all locations.
	if tokens == nil {
		return nil
	}
	api, err := ghlapi.New(ghlapi.Options{BaseURL: s.Config.GHLAPIBaseURL.String(), Tokens: tokens, HTTP: s.client, Observer: s.Metrics})
	if err != nil {
		return fmt.Errorf("set up GoHighLevel's API: %w", err)
	}
	s.Metrics.Endpoints(ghlapi.Endpoints())
	opts := s.breakerOptions()
	opts.Calls = limit
	s.ghl = &operation.GHL{API: api, Breakers: operation.NewLocationBreakers(opts, api.LocationKnown), Locations: s.Store}
	s.planner.ghl = s.ghl
	return nil
}

// breaker returns the breaker of a destination that every event needs. Its calls have no limit: if it hangs, no event can
// make progress anyway.
func (s *setup) breaker(name string) *destination.Breaker {
	return s.newBreaker(name, s.breakerOptions())
}

// limitedBreaker returns the breaker of a destination that not every event needs.
func (s *setup) limitedBreaker(name string) *destination.Breaker {
	opts := s.breakerOptions()
	opts.Calls = s.limit(name)
	return s.newBreaker(name, opts)
}

func (s *setup) newBreaker(name string, opts destination.BreakerOptions) *destination.Breaker {
	s.Metrics.Breaker(name, true)
	b := destination.NewBreaker(name, opts)
	s.planner.breakers = append(s.planner.breakers, b)
	return b
}

// limit gives a destination a third of the workers: if two of them hang, workers are left for the others.
func (s *setup) limit(name string) *destination.Bulkhead {
	released := s.planner.released
	b := destination.NewBulkhead(name, s.Workers/3, func() {
		select {
		case released <- struct{}{}:
		default: // A value is waiting already, and its receiver looks at all limits.
		}
	})
	s.planner.bulkheads = append(s.planner.bulkheads, b)
	return b
}

// How long a breaker stays open before it lets a call try, and the longest wait of an event, unless RETRY_MAX_DELAY is less.
const (
	breakerOpen    = 10 * time.Second
	breakerMaxWait = 5 * time.Minute
)

// breakerOptions returns options with which no event waits for longer than the longest delay between attempts.
func (s *setup) breakerOptions() destination.BreakerOptions {
	longest := s.Config.RetryMaxDelay
	return destination.BreakerOptions{
		Open: min(breakerOpen, longest), MaxWait: min(breakerMaxWait, longest), MaxPause: longest, Changed: s.Changed,
	}
}
