// Package pgbouncer runs real PgBouncers of the machine's own binary in front of a Postgres, each on a free port of 127.0.0.1. One
// never outlives the process that started it, and leaves nothing behind.
package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// ErrNotInstalled means that the machine has no PgBouncer.
var ErrNotInstalled = errors.New("no pgbouncer in PATH or /usr/sbin: install it (Debian, Ubuntu: apt-get install pgbouncer)")

// Options shape a pooler.
type Options struct {
	// Mode is its pool_mode: session, transaction or statement.
	Mode string
	// Settings are further ones of its configuration file, such as ignore_startup_parameters.
	Settings map[string]string
}

// Permissive are the startup parameters of verity-sync, for ignore_startup_parameters.
const Permissive = "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,search_path,options,extra_float_digits"

// stopGrace is how long a pooler may take to stop before it is killed.
const stopGrace = 10 * time.Second

// A Pooler is one PgBouncer. Its methods are not safe for concurrent use.
type Pooler struct {
	server  *url.URL
	account *syscall.Credential
	dir     string
	remove  func() error
	port    int
	service *proc.Service
}

// Start starts a pooler in front of the server that databaseURL names, and waits until it answers, for as long as ctx allows. It
// serves every database of the server, and its clients log in as the user of databaseURL. Close must be called in the end.
func Start(ctx context.Context, databaseURL string, options Options) (*Pooler, error) {
	binary, err := find()
	if err != nil {
		return nil, err
	}
	p := &Pooler{}
	if p.server, err = url.Parse(databaseURL); err != nil {
		return nil, errors.New("the URL of Postgres is not of the form postgres://user:password@host:port/database")
	}
	if p.account, err = proc.Account(); err != nil {
		return nil, fmt.Errorf("pgbouncer: %w", err)
	}
	if p.port, err = proc.FreePort(ctx); err != nil {
		return nil, fmt.Errorf("find a port for pgbouncer: %w", err)
	}
	if p.dir, p.remove, err = proc.TempDir("verity-sync-pgbouncer-"); err != nil {
		return nil, err
	}
	file := filepath.Join(p.dir, "pgbouncer.ini")
	p.service = &proc.Service{
		Name: "pgbouncer",
		Command: func() *exec.Cmd {
			cmd := exec.Command(binary, file) //nolint:noctx // it runs until it is stopped
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.account}
			return cmd
		},
		LogPath: filepath.Join(p.dir, "pgbouncer.log"),
		Ready:   p.answers,
		OnDeath: syscall.SIGKILL,
	}
	if err = p.configure(file, options); err == nil {
		err = p.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// URL returns databaseURL by way of the pooler. Parameters of the session stay as they are.
func (p *Pooler) URL(databaseURL string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return "", errors.New("the URL of Postgres is not of the form postgres://user:password@host:port/database")
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))
	return u.String(), nil
}

// Start starts the pooler again after Stop or Kill, on the same port.
func (p *Pooler) Start(ctx context.Context) error { return p.service.Start(ctx) }

// Stop shuts the pooler down at once, as a rollout does.
func (p *Pooler) Stop() error { return p.service.Stop(syscall.SIGTERM, stopGrace) }

// Kill ends the pooler with SIGKILL.
func (p *Pooler) Kill() error { return p.service.Kill() }

// Close stops the pooler and removes its files. It may be called again.
func (p *Pooler) Close() error { return errors.Join(p.Kill(), p.remove()) }

func (p *Pooler) configure(file string, options Options) error {
	password, _ := p.server.User.Password()
	users := filepath.Join(p.dir, "users.txt")
	if err := os.WriteFile(users, fmt.Appendf(nil, "%q %q\n", p.server.User.Username(), password), 0o600); err != nil {
		return fmt.Errorf("write the users of pgbouncer: %w", err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "[databases]\n* = host=%s port=%s\n[pgbouncer]\n", p.server.Hostname(), p.server.Port())
	settings := map[string]string{
		"listen_addr": "127.0.0.1", "listen_port": strconv.Itoa(p.port), "unix_socket_dir": "", "auth_type": "scram-sha-256",
		"auth_file": users, "pool_mode": options.Mode,
	}
	for _, s := range []map[string]string{settings, options.Settings} {
		for name, value := range s {
			fmt.Fprintf(&text, "%s = %s\n", name, value)
		}
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("write the configuration of pgbouncer: %w", err)
	}
	return proc.Own(p.account, p.dir, file, users)
}

// answers returns nil once the pooler takes connections: its own admin database needs a user that is allowed to, any other Postgres.
func (p *Pooler) answers(ctx context.Context) error {
	through, err := p.URL(p.server.Scheme + "://" + p.server.User.String() + "@postgres/postgres?sslmode=disable")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	conn, err := pgx.Connect(ctx, through)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func find() (string, error) {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path, nil
	}
	const debian = "/usr/sbin/pgbouncer" // It is not in PATH of those who are not root.
	if info, err := os.Stat(debian); err == nil && info.Mode().IsRegular() {
		return debian, nil
	}
	return "", ErrNotInstalled
}

// Version returns the version of the machine's PgBouncer: major and minor number.
func Version(ctx context.Context) (major, minor int, err error) {
	binary, err := find()
	if err != nil {
		return 0, 0, err
	}
	output, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return 0, 0, fmt.Errorf("ask pgbouncer for its version: %w", err)
	}
	if _, err := fmt.Sscanf(string(output), "PgBouncer %d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("read the version of pgbouncer in %q: %w", output, err)
	}
	return major, minor, nil
}
