package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/test/testenv/legacy"
	"github.com/dfmiddleware/verity-sync/test/testenv/pgproxy"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// The systems that are measured.
const (
	veritySync = "verity-sync"
	riverName  = "River"
	pgbossName = "pg-boss"
	pgbench    = "pgbench"
)

// setup describes how a system runs.
type setup struct {
	// work has it work on events, besides taking them in.
	work bool
	// kubeconfig is the control plane that verity-sync is to use.
	kubeconfig string
	// database, if set, stands between the system and Postgres.
	database *pgproxy.Proxy
	// env is added to the environment.
	env map[string]string
}

// running is a system under measurement.
type running struct {
	name string
	// address is where it takes webhooks in.
	address string
	// database reaches its database directly.
	database *pgxpool.Pool
	// pids are those of its own processes, intake that of the one that takes webhooks in.
	pids   []int
	intake int
	// system is that of verity-sync; nil for the others.
	system *system.System
	// ready is how long it took from the start of the process to its first answer.
	ready time.Duration

	closers []func() error
}

func (r *running) Close() error {
	var failures []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		failures = append(failures, r.closers[i]())
	}
	return errors.Join(failures...)
}

// starter starts a system on a clean database and waits until it is ready.
type starter func(ctx context.Context, s setup) (*running, error)

func (e *environment) starters() map[string]starter {
	return map[string]starter{veritySync: e.startVeritySync, riverName: e.startRiver, pgbossName: e.startPgBoss}
}

// startSystem starts a system by its name.
func (e *environment) startSystem(ctx context.Context, name string, s setup) (*running, error) {
	if err := e.forget(ctx); err != nil {
		return nil, err
	}
	r, err := e.starters()[name](ctx, s)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return r, nil
}

func (e *environment) startVeritySync(ctx context.Context, s setup) (*running, error) {
	controllers := 0
	if s.work {
		controllers = 1
	}
	server := e.postgres.URL()
	if s.database != nil {
		server = s.database.Through(server)
	}
	env := e.variables()
	maps.Copy(env, s.env)
	sys, err := system.Start(ctx, system.Options{
		Receivers: 1, Controllers: controllers, Binary: filepath.Join(e.options.binaries, "verity-sync"),
		DatabaseURL: server, Kubeconfig: s.kubeconfig, Env: env,
	})
	if err != nil {
		return nil, err
	}
	r := &running{name: veritySync, system: sys, closers: []func() error{sys.Close}}
	for _, p := range append(sys.Receivers, sys.Controllers...) {
		r.pids = append(r.pids, p.PID())
	}
	r.intake = r.pids[0]
	u, err := url.Parse(sys.Receivers[0].URL)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.address = u.Host
	direct := sys.DatabaseURL
	if s.database != nil {
		direct = s.database.Direct(direct)
	}
	return r, errors.Join(r.open(ctx, direct), introduce(ctx, direct, 0, people))
}

// open connects to the database, past the proxy.
func (r *running) open(ctx context.Context, databaseURL string) (err error) {
	if r.database, err = pgxpool.New(ctx, databaseURL); err != nil {
		return fmt.Errorf("connect to the database of %s: %w", r.name, err)
	}
	r.closers = append(r.closers, func() error { r.database.Close(); return nil })
	return nil
}

func (e *environment) startRiver(ctx context.Context, s setup) (*running, error) {
	program := filepath.Join(e.options.binaries, "bench", "river")
	return e.startBaseline(ctx, riverName, s, func() *exec.Cmd { return exec.Command(program) }) //nolint:noctx // until it is stopped
}

func (e *environment) startPgBoss(ctx context.Context, s setup) (*running, error) {
	program := filepath.Join(e.options.binaries, "bench", "pgboss", "server.js")
	return e.startBaseline(ctx, pgbossName, s, func() *exec.Cmd {
		return exec.Command("node", program) //nolint:noctx // until it is stopped
	})
}

// startBaseline starts one of the baselines on the tables of the legacy middleware.
func (e *environment) startBaseline(ctx context.Context, name string, s setup, command func() *exec.Cmd) (*running, error) {
	databaseURL, err := e.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	if err := execute(ctx, databaseURL, legacy.Tables); err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	if err := introduce(ctx, databaseURL, 0, people); err != nil {
		return nil, err
	}
	port, err := proc.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	r := &running{name: name, address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	env := e.variables()
	env["DATABASE_URL"] = databaseURL
	if s.database != nil {
		env["DATABASE_URL"] = s.database.Through(databaseURL)
	}
	env["LISTEN_ADDRESS"] = r.address
	env["WORK"] = strconv.FormatBool(s.work)
	var cmd *exec.Cmd
	service := &proc.Service{
		Name: name, LogPath: filepath.Join(e.dir, filepath.Base(databaseURL)+name+".log"), OnDeath: syscall.SIGKILL,
		Command: func() *exec.Cmd {
			cmd = command()
			for variable, value := range env {
				cmd.Env = append(cmd.Env, variable+"="+value)
			}
			return cmd
		},
		Ready: func(ctx context.Context) error { return answers(ctx, "http://"+r.address+"/readyz") },
	}
	began := time.Now()
	if err := service.Start(ctx); err != nil {
		return nil, err
	}
	r.ready = time.Since(began)
	r.closers = append(r.closers, service.Kill)
	r.intake = cmd.Process.Pid
	r.pids = []int{r.intake}
	if err := r.open(ctx, databaseURL); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
