package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

const (
	// schemaTimeout is how long a start waits for a database.
	schemaTimeout = 5 * time.Second
	// preflightPeriod is how often a preflight is repeated that failed for a transient reason.
	preflightPeriod = 10 * time.Second
)

// replicas is how many receivers, and controllers, the chart installs by default.
const replicas = 2

// inspection looks for problems of a database. An error means that the database did not answer.
type inspection func(ctx context.Context) ([]preflight.Finding, error)

// ofMiddleware inspects the middleware database for a process.
func ofMiddleware(db *store.Store, url config.DatabaseURL, process store.Process) inspection {
	return func(ctx context.Context) ([]preflight.Finding, error) {
		return db.Inspect(ctx, process, middlewareClients(url))
	}
}

func middlewareClients(url config.DatabaseURL) []database.Clients {
	return []database.Clients{
		{Kind: "receiver", Replicas: replicas, Conns: database.Conns(url.Reveal(), receiverConns)},
		{Kind: "controller", Replicas: replicas, Conns: database.Conns(url.Reveal(), controllerConns)},
	}
}

// leadsDatabase is Verity's database with the checks of its tables.
type leadsDatabase interface {
	Database() *database.Pool
	Inspect(ctx context.Context) ([]preflight.Finding, error)
}

// ofVerity inspects Verity's database.
func ofVerity(leads leadsDatabase, url config.DatabaseURL) inspection {
	return func(ctx context.Context) ([]preflight.Finding, error) {
		findings, err := database.Inspect(ctx, leads.Database(), database.Inspection{
			Database: preflight.Verity, Timeouts: verity.Timeouts(),
			Clients: []database.Clients{{Kind: "controller", Replicas: replicas, Conns: database.Conns(url.Reveal(), 0)}},
		})
		if err != nil || preflight.Failure(findings) != nil {
			return findings, err // The tables of a standby, for instance, would add nothing.
		}
		ofLeads, err := leads.Inspect(ctx)
		return append(findings, ofLeads...), err
	}
}

// lasting returns the findings that do not pass by themselves.
func lasting(findings []preflight.Finding) []preflight.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f preflight.Finding) bool { return f.MayPass })
}

// preflights runs the preflights of a process and logs each problem once.
type preflights struct {
	log     logr.Logger
	logged  map[string]bool
	pending []inspection
}

func newPreflights(log logr.Logger) *preflights {
	return &preflights{log: log.WithName("preflight"), logged: map[string]bool{}}
}

// start inspects a database and returns the lasting errors. A database that does not answer, or is read-only for now, does not fail the
// start: repeat inspects it again.
func (p *preflights) start(ctx context.Context, name preflight.Database, inspect inspection) error {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	findings, err := inspect(ctx)
	if err != nil {
		p.log.Error(err, "the database does not answer yet; its checks are repeated until it does", "database", name)
	}
	return p.conclude(inspect, findings, err)
}

// conclude reports findings, returns the lasting errors, and keeps inspections that must be repeated.
func (p *preflights) conclude(inspect inspection, findings []preflight.Finding, err error) error {
	p.report(findings)
	if failure := preflight.Failure(lasting(findings)); failure != nil {
		return permanent(failure)
	}
	if err != nil || preflight.Failure(findings) != nil {
		p.pending = append(p.pending, inspect)
	}
	return nil
}

// report logs the problems that it has not logged before. Those that fail the process are in its error.
func (p *preflights) report(findings []preflight.Finding) {
	for _, f := range findings {
		if f.Severity == preflight.OK || p.logged[f.String()] || f.Severity == preflight.Error && !f.MayPass {
			continue
		}
		p.logged[f.String()] = true
		values := []any{"severity", f.Severity, "database", f.Database, "check", f.Check, "finding", f.Message, "action", f.Action}
		if f.Severity == preflight.Error {
			p.log.Error(preflight.ErrFailed, "check failed; it is repeated until it passes", values...)
		} else {
			p.log.Info("check found a problem; the process continues", values...)
		}
	}
}

// repeat repeats the pending preflights until each has completed. It returns the lasting errors.
func (p *preflights) repeat(ctx context.Context) error {
	for len(p.pending) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(preflightPeriod):
		}
		pending := p.pending
		p.pending = nil
		var failures []error
		for _, inspect := range pending {
			inspecting, cancel := context.WithTimeout(ctx, schemaTimeout)
			findings, err := inspect(inspecting)
			cancel()
			failures = append(failures, p.conclude(inspect, findings, err))
		}
		if err := errors.Join(failures...); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
