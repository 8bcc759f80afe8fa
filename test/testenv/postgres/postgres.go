// Package postgres runs real Postgres servers of the machine's own binaries, each on a temporary data directory and a free port of
// 127.0.0.1. A server never outlives the process that started it, and leaves nothing behind. It does not know what is stored.
package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// Options shape a server. The zero value is a durable one.
type Options struct {
	// NoSync makes commits several times faster and has them survive a crash of the server, though not one of the machine.
	NoSync bool
	// Settings are further configuration parameters, such as log_statement. max_connections is 300 unless it is among them.
	Settings map[string]string
}

// A Server is one Postgres server. Its methods are not safe for concurrent use.
type Server struct {
	options  Options
	bin, dir string
	remove   func() error
	account  *syscall.Credential
	port     int
	password string
	service  *proc.Service
}

// Mode is a way to shut down, by the name that pg_ctl has for it.
type Mode string

// The ways to shut down.
const (
	Smart     Mode = "smart"     // waits until the clients have gone
	Fast      Mode = "fast"      // rolls back what is running
	Immediate Mode = "immediate" // leaves the recovery to the next start
)

// How long a server may take to stop before it is killed.
const stopGrace = 30 * time.Second

// Start makes a new, empty server and waits until it answers, for as long as ctx allows. It returns ErrNotInstalled where the
// machine has none. Close must be called in the end.
func Start(ctx context.Context, options Options) (*Server, error) {
	var err error
	s := &Server{options: options, password: rand.Text()}
	if s.bin, err = binDir(debianDirs); err != nil {
		return nil, err
	}
	if s.account, err = proc.Account(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if s.port, err = proc.FreePort(ctx); err != nil {
		return nil, fmt.Errorf("find a port for postgres: %w", err)
	}
	if s.dir, s.remove, err = proc.TempDir("verity-sync-postgres-"); err != nil {
		return nil, err
	}
	s.service = &proc.Service{
		Name:    "postgres",
		Command: s.command,
		LogPath: filepath.Join(s.dir, "postgres.log"),
		Ready:   s.answers,
		OnDeath: syscall.SIGQUIT,
	}
	if err = s.initialise(ctx); err == nil {
		err = s.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// URL connects to the database postgres as its superuser.
func (s *Server) URL() string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword("postgres", s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Dir is the server's temporary directory.
func (s *Server) Dir() string { return s.dir }

// Start starts the server again after Stop or Kill, with the data, the port and the URL that it had, and waits until it answers, for as
// long as ctx allows.
func (s *Server) Start(ctx context.Context) error {
	for {
		err := s.service.Start(ctx)
		if err == nil || !strings.Contains(err.Error(), "shared memory block") {
			return err
		}
		// The backends of a killed server hold on to its memory until they notice, and until then no new one can start.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop shuts the server down and waits until it is gone. Its data stays.
func (s *Server) Stop(mode Mode) error {
	signals := map[Mode]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}
	signal, known := signals[mode]
	if !known {
		return fmt.Errorf("stop postgres: unknown mode %q", mode)
	}
	return s.service.Stop(signal, stopGrace)
}

// Kill ends the server with SIGKILL. Its data stays, as a crash leaves it.
func (s *Server) Kill() error { return s.service.Kill() }

// Close stops the server and removes its data. It may be called again.
func (s *Server) Close() error {
	return errors.Join(s.Stop(Immediate), s.remove())
}

// Exhaust takes every connection that the server has, having ended those of the applications whose names are like the pattern, until
// release is called, which is also due after an error.
func (s *Server) Exhaust(ctx context.Context, pattern string) (release func(), err error) {
	var taken []*pgx.Conn
	release = func() {
		for _, conn := range taken {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}
	admin, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return release, err
	}
	taken = append(taken, admin)
	for {
		conn, err := pgx.Connect(ctx, s.URL())
		if err == nil {
			taken = append(taken, conn)
			continue
		}
		const tooManyConnections = "53300"
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != tooManyConnections {
			return release, err
		}
		// Those that were ended a moment ago make room for the next round.
		var ended int
		const end = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE $1`
		if err := admin.QueryRow(ctx, end, pattern).Scan(&ended); err != nil || ended == 0 {
			return release, err
		}
	}
}

func (s *Server) initialise(ctx context.Context) error {
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(s.password), 0o600); err != nil {
		return fmt.Errorf("write the password of postgres: %w", err)
	}
	if err := proc.Own(s.account, s.dir, passwordFile); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "--pgdata="+s.dataDir(), "--username=postgres", "--auth=scram-sha-256",
		"--pwfile="+passwordFile, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	s.prepare(cmd)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, proc.Tail(output))
	}
	return nil
}

func (s *Server) command() *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), s.arguments()...) //nolint:noctx // it runs until it is stopped
	s.prepare(cmd)
	return cmd
}

// prepare makes cmd run as the server's user, where it can read, and write its messages in English.
func (s *Server) prepare(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
}

func (s *Server) arguments() []string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": "",
		"max_connections":         "300",
		"timezone":                "UTC",
		// Shared memory that a crash leaves must lie in the data directory, to be removed with it.
		"dynamic_shared_memory_type": "mmap",
	}
	if s.options.NoSync {
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, s.options.Settings)
	arguments := []string{"-D", s.dataDir()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		arguments = append(arguments, "-c", name+"="+settings[name])
	}
	return arguments
}

// answers returns nil once the server takes connections.
func (s *Server) answers(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (s *Server) dataDir() string { return filepath.Join(s.dir, "data") }
