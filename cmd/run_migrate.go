package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// runMigrate migrates the database and prints what it did, or what it would do.
func runMigrate(ctx context.Context, cfg config.Migrate, flags migrateFlags, out io.Writer) error {
	if err := checkMigration(ctx, cfg, out); err != nil {
		return err
	}
	opts := store.MigrateOptions{
		Normalise:      normalise,
		ForwardAdopted: flags.forwardAdopted,
		Report: func(step string, since time.Duration) {
			fmt.Fprintf(out, "still running after %s: %s\n", since, step)
		},
	}
	if flags.dryRun {
		return runMigrateDryRun(ctx, cfg, opts, out)
	}
	applied, err := store.Migrate(ctx, cfg.DatabaseURL.Reveal(), opts)
	for _, m := range applied {
		fmt.Fprintf(out, "applied %d: %s\n", m.Version, m.Name)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is up to date\n", cfg.DatabaseURL)
	return nil
}

// runMigrateStatus prints every migration that this binary knows.
func runMigrateStatus(ctx context.Context, cfg config.Tool, out io.Writer) error {
	known, err := store.MigrationsOf(ctx, cfg.DatabaseURL.Reveal())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "VERSION\tNAME\tAPPLIED")
	for _, m := range known {
		applied := "pending"
		if !m.AppliedAt.IsZero() {
			applied = m.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, m.Name, applied)
	}
	return table.Flush()
}

// normalise reads a payload of GoHighLevel that the legacy middleware stored: JSON, but not always an object.
func normalise(payload []byte, receivedAt time.Time) event.Event {
	e, err := source.Of(event.SourceGHL).Normalise(payload, receivedAt)
	if err != nil {
		return event.Event{Source: event.SourceGHL, Type: event.TypeUnknown, EntityType: event.EntityUnknown}
	}
	return e
}
