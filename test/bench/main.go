// Command bench measures verity-sync beside what it replaces, beside what a team would write today, and beside the limits of the machine,
// all in one run on this machine, and writes the figures into docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// row is a part of the benchmarks.
type row struct {
	name string
	// measure does one repetition.
	measure func(e *environment, ctx context.Context, r record) error
	// render writes what came of all of them, in Markdown.
	render func(ctx context.Context, e *environment, r record) (string, error)
	// once is set for a row that is measured in one long run, and only where it is asked for. It says what that is.
	once func(o options) string
}

var rows = []row{
	{name: "intake", measure: (*environment).intake, render: table(renderIntake)},
	{name: "end-to-end", measure: (*environment).endToEnd, render: table(renderEndToEnd)},
	{name: "round-trips", measure: (*environment).trips, render: table(renderTrips)},
	{name: "idle", measure: (*environment).idle, render: table(renderIdle)},
	{name: "backlog", measure: (*environment).backlog, render: table(renderBacklog)},
	{name: "footprint", measure: (*environment).footprint, render: table(renderFootprint)},
	{name: "micro", measure: (*environment).micro, render: renderMicro},
	{name: "burst", measure: (*environment).burst, render: table(renderBurst), once: burstOf},
	{name: "settings", measure: (*environment).settings, render: table(renderSettings), once: settingsOf},
}

// table is how most rows are rendered: from their figures alone.
func table(render func(record) string) func(context.Context, *environment, record) (string, error) {
	return func(_ context.Context, _ *environment, r record) (string, error) { return render(r), nil }
}

func main() {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.name
	}
	only := flag.String("rows", "", "what to measure, separated by commas: "+strings.Join(names, ", ")+
		"; without it, all but burst and settings")
	document := flag.String("document", "", "the file in which to replace the figures; none are written where none is given")
	var o options
	flag.IntVar(&o.repetitions, "repetitions", 6, "how often each is measured, one after the other and then all again")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "how long each rate is measured")
	flag.Float64Var(&o.rate, "rate", 50, "how many events a second are put through the store on each of the settings")
	flag.IntVar(&o.events, "events", 5000, "how many events are taken to their end")
	flag.StringVar(&o.binaries, "binaries", "bin", "where verity-sync and the baselines are")
	flag.Parse()
	log.SetLogger(logr.Discard()) // The clients of Kubernetes have nothing to say that their errors do not.
	// Programs are started in directories of their own.
	var err error
	if o.binaries, err = filepath.Abs(o.binaries); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	began := time.Now()
	o.say = func(format string, arguments ...any) {
		fmt.Printf("%7.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, arguments...))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o, *only, *document)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only, document string) (err error) {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	e, err := newEnvironment(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	records := make([]record, len(chosen))
	for i := range records {
		records[i] = record{}
	}
	for repetition := range o.repetitions {
		for i, row := range chosen {
			o.say("%s, repetition %d of %d", row.name, repetition+1, o.repetitions)
			if err := row.measure(e, ctx, records[i]); err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
		}
	}
	// A row that is measured once names its machine itself: the other figures may be of another one.
	if document != "" && slices.ContainsFunc(chosen, func(r row) bool { return r.once == nil }) {
		if err := writeSection(document, "machine", e.machine(ctx)); err != nil {
			return err
		}
	}
	for i, row := range chosen {
		text, err := row.render(ctx, e, records[i])
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		fmt.Printf("\n%s\n\n%s", row.name, text)
		if document == "" {
			continue
		}
		measured := stamp(ctx, o.repetitions)
		if row.once != nil {
			measured = stampOnce(ctx, row.once(o))
		}
		if err := writeSection(document, row.name, measured+text); err != nil {
			return err
		}
	}
	return nil
}

func choose(only string) ([]row, error) {
	if only == "" {
		return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.once != nil }), nil
	}
	var chosen []row
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q", name)
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}
