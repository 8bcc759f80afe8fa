// Command dev runs all of verity-sync on this machine, with simulators of what it talks to: it posts webhooks, shows what became of them,
// and stays up to be tried out until it is interrupted. With --once it ends after the first round, with an error where an event did not
// end as it should.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

const (
	startTimeout = 10 * time.Minute // It may have to be built.
	roundTimeout = 2 * time.Minute
)

func main() {
	once := flag.Bool("once", os.Getenv("ONCE") == "1", "end after the first round; so does ONCE=1 in the environment")
	binary := flag.String("binary", "", "the verity-sync to run; it is built where none is given")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second interrupt ends the process at once; what it has started ends with it.
	context.AfterFunc(ctx, stop)
	d := dev{out: os.Stdout, once: *once, options: system.Options{Binary: *binary, DatabaseURL: os.Getenv("DATABASE_URL")}}
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		os.Exit(1)
	}
}

// dev is one run of the command.
type dev struct {
	*system.System

	out     io.Writer
	once    bool
	options system.Options
}

func (d *dev) run(ctx context.Context) (err error) {
	began := time.Now()
	if err := d.start(ctx); err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer func() {
		d.say("stopping everything")
		err = errors.Join(err, d.Close())
	}()
	d.say("everything is up after %s", time.Since(began).Round(time.Second))
	if err := d.round(ctx); err != nil || d.once {
		return unlessInterrupted(ctx, err)
	}
	if err := d.invite(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (d *dev) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	d.options.Receivers, d.options.Controllers = 2, 1
	d.options.Env = map[string]string{"GHL_APPOINTMENT_TAGS": tag}
	d.options.Say = func(what string) { d.say("%s", what) }
	var err error
	d.System, err = system.Start(ctx, d.options)
	return err
}

// round posts the webhooks of the story, waits for what becomes of them and shows it.
func (d *dev) round(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	d.say("telling the simulators who the people of the webhooks are")
	chapters, err := d.tell(ctx)
	if err != nil {
		return err
	}
	echoes := d.echo(ctx)
	posted, err := d.post(ctx, chapters)
	if err != nil {
		return err
	}
	if err := d.awaitTag(ctx, "bob", echoes, posted); err != nil {
		return err
	}
	d.say("waiting for %d events to be finished", len(posted))
	finished, err := d.wait(ctx, posted)
	if err != nil {
		return err
	}
	return errors.Join(d.show(ctx), verdict(posted, finished))
}

// unlessInterrupted returns nil after an interrupt, which is then the reason of the error.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (d *dev) say(format string, arguments ...any) {
	d.print("==> "+format+"\n", arguments...)
}

// print ignores the error: a terminal that is gone shows none.
func (d *dev) print(format string, arguments ...any) { _, _ = fmt.Fprintf(d.out, format, arguments...) }
