// Command testenv runs a command, such as `go test ./...`, with one Postgres and one control plane that everything it starts shares, and
// stops them when it ends, however it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

const (
	startTimeout = 2 * time.Minute
	// What is still running this long after it was interrupted is killed.
	interruptGrace = 10 * time.Second
)

func main() {
	arguments := os.Args[1:]
	if len(arguments) > 0 && arguments[0] == "--" {
		arguments = arguments[1:]
	}
	if len(arguments) == 0 {
		fmt.Fprintln(os.Stderr, "usage: testenv [--] COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	// The log of the installer of custom resource definitions is of no use here.
	log.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, arguments)
	stop()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Exited():
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "testenv:", err)
		os.Exit(1)
	}
}

// run returns the command's own *exec.ExitError alone where it is all that went wrong.
func run(ctx context.Context, arguments []string) (err error) {
	var parts parts
	defer func() { err = errors.Join(err, parts.close()) }()
	if err := parts.start(ctx); err != nil {
		return err
	}
	return runCommand(ctx, arguments, parts.environment)
}

type parts struct {
	database    *postgres.Server
	kubernetes  *controlplane.ControlPlane
	environment []string
}

func (p *parts) start(ctx context.Context) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	if os.Getenv("DATABASE_URL") == "" {
		group.Go(func() (err error) {
			p.database, err = postgres.Start(ctx, postgres.Options{NoSync: true})
			return err
		})
	} else {
		fmt.Println("testenv: using the Postgres of DATABASE_URL, in schemas of the tests' own")
	}
	group.Go(func() error {
		options, err := testenv.ControlPlaneOptions()
		if err != nil {
			return err
		}
		p.kubernetes, err = controlplane.Start(ctx, options)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if p.database != nil {
		p.environment = append(p.environment, testenv.DatabaseURLVariable+"="+p.database.URL())
	}
	p.environment = append(p.environment, testenv.KubeconfigVariable+"="+p.kubernetes.Kubeconfig())
	fmt.Printf("testenv: Postgres and Kubernetes are up after %s\n", time.Since(started).Round(100*time.Millisecond))
	return nil
}

func (p *parts) close() error {
	var failures []error
	if p.kubernetes != nil {
		failures = append(failures, p.kubernetes.Close())
	}
	if p.database != nil {
		failures = append(failures, p.database.Close())
	}
	return errors.Join(failures...)
}

// runCommand runs the command in a separate process group, so that an interrupt, which `go test` does not pass on, reaches every test
// binary, and every process that it started ends.
func runCommand(ctx context.Context, arguments, environment []string) error {
	cmd := exec.CommandContext(ctx, arguments[0], arguments[1:]...) //nolint:gosec // running the given command is its purpose
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = interruptGrace
	if err := cmd.Start(); err != nil {
		return err
	}
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // mostly, no process is left
	return cmd.Wait()
}
