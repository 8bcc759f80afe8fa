package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/database"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/internal/verity"
)

const (
	// checkTimeout bounds the inspection of a database.
	checkTimeout = 20 * time.Second
	// checkConfigured checks whether a database is configured.
	checkConfigured = "configured"
)

// runCheck inspects both databases and prints all findings.
func runCheck(ctx context.Context, cfg config.Migrate, flags checkFlags, out io.Writer) error {
	findings := findingsOf(ctx, preflight.Middleware, func(ctx context.Context) ([]preflight.Finding, error) {
		db, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), store.Options{Name: "verity-sync check"})
		if err != nil {
			return nil, err
		}
		defer db.Close()
		return db.Inspect(ctx, store.AnyProcess, middlewareClients(cfg.DatabaseURL))
	})
	findings = append(findings, inspectVerity(ctx, cfg.VerityDatabaseURL)...)
	if err := printFindings(findings, flags.output, out); err != nil {
		return err
	}
	switch errs := count(findings, preflight.Error); {
	case errs == 0:
		return nil
	case !slices.ContainsFunc(findings, isBroken):
		return errors.New("a database is not reachable")
	default:
		return permanent(fmt.Errorf("%w: errors: %d, warnings: %d", preflight.ErrFailed, errs, count(findings, preflight.Warning)))
	}
}

// isBroken reports whether a finding is an Error of a database that answers.
func isBroken(f preflight.Finding) bool {
	return f.Severity == preflight.Error && (f.Check != database.CheckReachable || !f.MayPass)
}

// inspectVerity inspects Verity's database as a controller will use it.
func inspectVerity(ctx context.Context, url config.DatabaseURL) []preflight.Finding {
	if url.Reveal() == "" {
		return []preflight.Finding{{
			Database: preflight.Verity, Severity: preflight.OK, Check: checkConfigured,
			Message: "VERITY_DATABASE_URL is not set: leads are not synced, and Verity's database is not checked",
		}}
	}
	return findingsOf(ctx, preflight.Verity, func(ctx context.Context) ([]preflight.Finding, error) {
		leads, err := verity.OpenLeads(ctx, verity.LeadsConfig{URL: url.Reveal()})
		if err != nil {
			return nil, err
		}
		defer leads.Close()
		return ofVerity(leads, url)(ctx)
	})
}

// findingsOf runs an inspection and returns its findings. The failure of the inspection itself is one of them.
func findingsOf(ctx context.Context, name preflight.Database, inspect inspection) []preflight.Finding {
	var findings []preflight.Finding
	err := database.Within(ctx, checkTimeout, func(ctx context.Context) (err error) {
		findings, err = inspect(ctx)
		return err
	})
	if err != nil {
		f := preflight.Finding{
			Database: name, Severity: preflight.Error, Check: database.CheckReachable, Message: err.Error(),
			MayPass: !store.IsPermanent(err),
		}
		if errors.Is(err, database.ErrUnusable) {
			f.Check = database.CheckPooler
		}
		findings = append(findings, f)
	}
	return findings
}

func count(findings []preflight.Finding, severity preflight.Severity) (n int) {
	for _, f := range findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

func printFindings(findings []preflight.Finding, format string, out io.Writer) error {
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(struct {
			Findings []preflight.Finding `json:"findings"`
		}{findings})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DATABASE\tCHECK\tSEVERITY\tFINDING")
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Database, f.Check, f.Severity, event.VisibleLine(f.Message))
		if f.Action != "" {
			fmt.Fprintf(table, "\t\t\t-> %s\n", event.VisibleLine(f.Action))
		}
	}
	return table.Flush()
}

// checkMigration inspects the middleware database as a migration will use it, and Verity's if it is configured. An error prevents the
// migration, unless it is a transient error of Verity's database: a migration does not need that database.
func checkMigration(ctx context.Context, cfg config.Migrate, out io.Writer) error {
	path, findings, err := store.InspectMigration(ctx, cfg.DatabaseURL.Reveal(), middlewareClients(cfg.DatabaseURL))
	if path.Pooler {
		fmt.Fprintf(out, "%s is %s\n", cfg.DatabaseURL, path)
	}
	if err != nil {
		printWarnings(findings, out)
		return err
	}
	for _, f := range inspectVerity(ctx, cfg.VerityDatabaseURL) {
		if f.Severity == preflight.Error && f.MayPass {
			f.Severity = preflight.Warning
		}
		findings = append(findings, f)
	}
	printWarnings(findings, out)
	if failure := preflight.Failure(lasting(findings)); failure != nil {
		return permanent(failure)
	}
	return preflight.Failure(findings)
}

func printWarnings(findings []preflight.Finding, out io.Writer) {
	for _, f := range findings {
		if f.Severity == preflight.Warning {
			fmt.Fprintf(out, "warning: %s\n", f)
		}
	}
}
