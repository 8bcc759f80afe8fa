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
	measure func(w *world, ctx context.Context, r record) error
	// render writes what came of all of them, in Markdown.
	render func(record) string
}

var rows = []row{
	{"intake", (*world).intake, renderIntake},
	{"end-to-end", (*world).endToEnd, renderEndToEnd},
	{"round-trips", (*world).trips, renderTrips},
	{"idle", (*world).idle, renderIdle},
	{"backlog", (*world).backlog, renderBacklog},
	{"footprint", (*world).footprint, renderFootprint},
}

func main() {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.name
	}
	only := flag.String("rows", "", "what to measure, separated by commas: "+strings.Join(names, ", ")+"; everything where none is given")
	document := flag.String("document", "", "the file in which to replace the figures; none are written where none is given")
	var o options
	flag.IntVar(&o.repetitions, "repetitions", 5, "how often each is measured, one after the other and then all again")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "how long each rate is measured")
	flag.IntVar(&o.events, "events", 5000, "how many events are taken to their end")
	flag.StringVar(&o.binaries, "binaries", "bin", "where verity-sync and the baselines are")
	flag.Parse()
	log.SetLogger(logr.Discard()) // The clients of Kubernetes have nothing to say that their errors do not.
	began := time.Now()
	o.say = func(format string, arguments ...any) {
		fmt.Printf("%7.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, arguments...))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, *only, *document)
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
	w, err := newWorld(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	records := make([]record, len(chosen))
	for i := range records {
		records[i] = record{}
	}
	for repetition := range o.repetitions {
		for i, row := range chosen {
			o.say("%s, repetition %d of %d", row.name, repetition+1, o.repetitions)
			if err := row.measure(w, ctx, records[i]); err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
		}
	}
	for i, row := range chosen {
		text := row.render(records[i])
		fmt.Printf("\n%s\n\n%s", row.name, text)
		if document == "" {
			continue
		}
		if err := writeSection(document, row.name, text, o.repetitions); err != nil {
			return err
		}
	}
	return nil
}

func choose(only string) ([]row, error) {
	if only == "" {
		return rows, nil
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
