package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// How often the progress of a server is looked at.
const copyTick = 20 * time.Millisecond

// BaseBackup copies the data of the server while it runs, as the start of a recovery to a later moment.
func (s *Server) BaseBackup(ctx context.Context) error { return s.copyTo(ctx, s, s.backupDir()) }

// RestorePoint names the present moment, to recover to.
func (s *Server) RestorePoint(ctx context.Context, name string) error {
	return s.execute(ctx, "SELECT pg_create_restore_point($1)", name)
}

// Recover stops the server and starts it again with the data that it had at a restore point, from the base backup and the write-ahead log
// since. The server then is one that never had what was committed later.
func (s *Server) Recover(ctx context.Context, restorePoint string) error {
	if err := s.Stop(Fast); err != nil {
		return err
	}
	before := filepath.Join(s.dir, "data.before")
	if err := errors.Join(os.Rename(s.dataDir(), before), os.Rename(s.backupDir(), s.dataDir())); err != nil {
		return fmt.Errorf("put a base backup in place: %w", err)
	}
	// The log has not been archived: it is where the server left it.
	settings := fmt.Sprintf("restore_command = 'cp %s/pg_wal/%%f %%p'\nrecovery_target_name = '%s'\nrecovery_target_action = 'promote'\n",
		before, restorePoint)
	if err := s.configure("recovery.signal", settings); err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	return s.until(ctx, "SELECT NOT pg_is_in_recovery()")
}

// Run runs a program of Postgres, such as pg_dump, and returns what it printed.
func (s *Server) Run(ctx context.Context, program string, arguments ...string) (string, error) {
	output, err := exec.CommandContext(ctx, filepath.Join(s.bin, program), arguments...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, proc.Tail(output))
	}
	return string(output), nil
}

// Standby starts a server that follows this one asynchronously, on a port of its own. Close must be called in the end.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	port, err := proc.FreePort(ctx)
	if err != nil {
		return nil, fmt.Errorf("find a port for a standby: %w", err)
	}
	dir, remove, err := proc.TempDir("verity-sync-standby-")
	if err != nil {
		return nil, err
	}
	standby := &Server{options: s.options, bin: s.bin, account: s.account, password: s.password, dir: dir, remove: remove, port: port}
	standby.service = &proc.Service{
		Name: "standby", Command: standby.command, LogPath: filepath.Join(dir, "postgres.log"), Ready: standby.answers,
		OnDeath: s.service.OnDeath,
	}
	err = errors.Join(
		proc.Own(s.account, dir),
		s.copyTo(ctx, standby, standby.dataDir()),
		standby.configure("standby.signal", fmt.Sprintf("primary_conninfo = '%s'\n", s.URL())),
	)
	if err == nil {
		err = standby.Start(ctx)
	}
	if err == nil {
		err = s.until(ctx, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
	}
	if err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// StopFollowing ends the replication from primary to a standby, once the standby has everything. The standby does not receive what the
// primary writes from then on.
func (s *Server) StopFollowing(ctx context.Context, primary *Server) error {
	return errors.Join(
		primary.until(ctx, "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication"),
		s.execute(ctx, "ALTER SYSTEM SET primary_conninfo = ''"), s.execute(ctx, "SELECT pg_reload_conf()"),
		primary.until(ctx, "SELECT count(*) = 0 FROM pg_stat_replication"),
	)
}

// Promote makes a standby a primary, with what it has received.
func (s *Server) Promote(ctx context.Context) error { return s.execute(ctx, "SELECT pg_promote()") }

func (s *Server) backupDir() string { return filepath.Join(s.dir, "backup") }

// copyTo copies the data of the server, which runs, to a directory of another one.
func (s *Server) copyTo(ctx context.Context, to *Server, dir string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "pg_basebackup"),
		"--dbname="+s.URL(), "--pgdata="+dir, "--checkpoint=fast", "--no-sync")
	to.prepare(cmd)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, proc.Tail(output))
	}
	return nil
}

// configure appends settings to those of the server, and has it start in the mode that a signal file stands for.
func (s *Server) configure(signal, settings string) error {
	auto := filepath.Join(s.dataDir(), "postgresql.auto.conf")
	before, err := os.ReadFile(auto)
	if err != nil {
		return fmt.Errorf("configure a recovery: %w", err)
	}
	return errors.Join(
		os.WriteFile(auto, append(before, settings...), 0o600),
		os.WriteFile(filepath.Join(s.dataDir(), signal), nil, 0o600),
		proc.Own(s.account, filepath.Join(s.dataDir(), signal)),
	)
}

func (s *Server) execute(ctx context.Context, statement string, args ...any) error {
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement, args...)
	return err
}

// until waits until a query says true.
func (s *Server) until(ctx context.Context, query string) error {
	conn, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for {
		var is *bool
		if err := conn.QueryRow(ctx, query).Scan(&is); err != nil {
			return fmt.Errorf("wait until %s: %w", query, err)
		}
		if is != nil && *is {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", query, ctx.Err())
		case <-time.After(copyTick):
		}
	}
}
