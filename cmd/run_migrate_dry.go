package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// runMigrateDryRun prints what a migration would do.
func runMigrateDryRun(ctx context.Context, cfg config.Migrate, opts store.MigrateOptions, out io.Writer) error {
	preview, err := store.PreviewMigration(ctx, cfg.DatabaseURL.Reveal(), opts)
	if err != nil {
		return err
	}
	if len(preview.Pending) == 0 {
		fmt.Fprintf(out, "%s is up to date\n", cfg.DatabaseURL)
		return nil
	}
	for _, m := range preview.Pending {
		fmt.Fprintf(out, "would apply %d: %s\n", m.Version, m.Name)
	}
	if preview.Adoption != nil {
		if err := printAdoption(out, preview.Adoption, opts.ForwardAdopted); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\nNothing was changed in %s\n", cfg.DatabaseURL)
	return nil
}

// printAdoption prints how a migration would change a database of the legacy middleware.
func printAdoption(out io.Writer, a *store.Adoption, forward bool) error {
	fmt.Fprint(out, "\nThe rows of webhook_events would stay, under their ids:\n\n")
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  STATUS\tBECOMES\tROWS")
	for _, s := range a.Statuses {
		fmt.Fprintf(table, "  %s\t%s\t%d\n", s.Was, s.Becomes, s.Rows)
	}
	if err := table.Flush(); err != nil {
		return err
	}

	forwarding := "but not forwarded to Verity again, unless you set --forward-adopted"
	if forward {
		forwarding = "and forwarded to Verity again"
	}
	fmt.Fprintf(out, "\n%d are unfinished. They would be processed, oldest first, %s.\n", a.Unfinished, forwarding)
	if len(a.Types) > 0 {
		fmt.Fprint(out, "Payloads of GoHighLevel's events that are not done would be decoded again:\n\n")
		fmt.Fprintln(table, "  TYPE\tBECOMES\tROWS\tOF THEM WITH ANOTHER ENTITY")
		for _, t := range a.Types {
			fmt.Fprintf(table, "  %s\t%s\t%d\t%d\n", t.Was, t.Becomes, t.Rows, t.OtherEntity)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "\n%d rows would get the dedupe key that GoHighLevel's next delivery of the same webhook has.\n", a.Keys)

	if len(a.Changes) > 0 {
		fmt.Fprint(out, "\nThese existing tables would change:\n\n")
		for _, change := range a.Changes {
			fmt.Fprintf(out, "  %s\n", change)
		}
	}
	if a.RewrittenBytes > 0 {
		fmt.Fprintf(out, "\nThe new type of payload_json makes Postgres rewrite webhook_events, %s with its indexes. Reads and writes\n"+
			"of the table wait meanwhile, and as much disk space again must be free.\n", mebibytes(a.RewrittenBytes))
	}
	return nil
}

// mebibytes rounds up.
func mebibytes(bytes int64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
