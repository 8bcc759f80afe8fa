package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/source"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// replayFlags are the flags of `verity-sync replay`.
type replayFlags struct {
	status    string
	since     string
	until     string
	eventType string
	from      string
	dryRun    bool
}

func (f *replayFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.status, "status", string(store.StatusError), "replay events with this status: error or done")
	fs.StringVar(&f.since, "since", "", "replay events that finished at most this long ago, for example 24h or 7d (required)")
	fs.StringVar(&f.until, "until", "",
		"replay events that finished at least this long ago, for example 24h (default: up to now). Together: --since=48h --until=24h")
	fs.StringVar(&f.eventType, "type", "",
		"replay only events of this type, for example appointment.created or AppointmentCreate (default: every type)")
	fs.StringVar(&f.from, "from", "",
		"start: also repeat operations that succeeded, with a new idempotency key (default: only operations that did not)")
	fs.BoolVar(&f.dryRun, "dry-run", false, "report how many events would be replayed, and change nothing")
}

func (f *replayFlags) selection() (store.ReplaySelection, error) {
	sel := store.ReplaySelection{Status: store.Status(strings.ToLower(f.status)), Type: source.TypeOf(f.eventType)}
	var problems []error
	if !sel.Status.Finished() {
		problems = append(problems, fmt.Errorf("--status: expected error or done, got %q", f.status))
	}
	if _, err := v1alpha1.ReplayFrom(f.from); err != nil {
		problems = append(problems, fmt.Errorf("--from: %w", err))
	}
	since, err := config.ParseDuration(f.since)
	if err != nil || since <= 0 {
		problems = append(problems, fmt.Errorf("--since: expected a duration such as 24h or 7d, got %q", f.since))
	}
	sel.Since = since
	if f.until != "" {
		sel.Until, err = config.ParseDuration(f.until)
		if err != nil || sel.Until < 0 || since > 0 && sel.Until >= since {
			problems = append(problems, fmt.Errorf("--until: expected a duration shorter than --since, got %q", f.until))
		}
	}
	return sel, errors.Join(problems...)
}

func newReplayCommand(environ []string) *cobra.Command {
	var flags replayFlags
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Replay finished events, including those without a WebhookEvent",
		Long: "Replay finished events, mostly those in error after their cause is fixed. The command changes rows in Postgres;\n" +
			"their WebhookEvents are recreated. Operations that succeeded in an earlier run are not repeated, unless you set\n" +
			"--from=start. To replay one event that has a WebhookEvent, you can also use kubectl annotate.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			selection, problems := flags.selection()
			cfg, err := load[config.Tool](environ, problems)
			if err != nil {
				return err
			}
			return classified(runReplay(cmd.Context(), cfg, selection, flags, cmd.OutOrStdout()))
		},
	}
	flags.bind(cmd.Flags())
	return setup[config.Tool](cmd)
}

func runReplay(ctx context.Context, cfg config.Tool, sel store.ReplaySelection, flags replayFlags, out io.Writer) error {
	db, err := store.Open(ctx, cfg.DatabaseURL.Reveal(), store.Options{Name: "verity-sync replay", MaxConns: 2})
	if err != nil {
		return err
	}
	defer db.Close()
	checkCtx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	if err := db.CheckSchema(checkCtx); err != nil {
		return err
	}
	what := fmt.Sprintf("events with the status %s, finished in the last %s", sel.Status, flags.since)
	if sel.Until > 0 {
		what += " and at least " + flags.until + " ago"
	}
	if sel.Type != "" {
		what += ", of the type " + sel.Type
	}
	if flags.dryRun {
		n, err := db.CountReplayable(ctx, sel)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "would replay %d %s\n", n, what)
		return explainNone(ctx, db, sel, n, out)
	}
	start := time.Now()
	fromStart, err := v1alpha1.ReplayFrom(flags.from)
	if err != nil {
		return err
	}
	n, err := db.ReplayAll(ctx, sel, fromStart)
	if err != nil {
		return fmt.Errorf("%d were replayed, then: %w", n, err)
	}
	fmt.Fprintf(out, "replays %d %s (%s)\n", n, what, time.Since(start).Round(time.Millisecond))
	return explainNone(ctx, db, sel, n, out)
}

// explainNone prints how many events were left out because their data was erased. If a selection by type has no event, it also prints the
// types that exist.
func explainNone(ctx context.Context, db *store.Store, sel store.ReplaySelection, n int64, out io.Writer) error {
	erased, err := db.CountErased(ctx, sel)
	if err != nil {
		return err
	}
	if erased > 0 {
		fmt.Fprintf(out, "%d more are left out: their data was erased.\n", erased)
	}
	if n > 0 || sel.Type == "" {
		return nil
	}
	types, err := db.ReplayableTypes(ctx, sel)
	if err != nil {
		return err
	}
	if len(types) == 0 {
		fmt.Fprint(out, "There are no events of other types with this status in that time either.\n")
		return nil
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = fmt.Sprintf("%s (%d)", t.Type, t.Events)
	}
	fmt.Fprintf(out, "There are no events of the type %s. Types with this status in that time: %s.\n",
		sel.Type, strings.Join(names, ", "))
	return nil
}
