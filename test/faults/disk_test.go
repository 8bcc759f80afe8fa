package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// disk is a way for tables to have no room: they lie on a small file system that is full, where one may be mounted; elsewhere a trigger says
// what Postgres says then.
type disk struct {
	database
	environment *environment
	dir         string
}

const (
	diskFull   = "53100"
	filler     = "filler"
	tablespace = "small"
)

func newDisk(ctx context.Context, d database, e *environment) (*disk, error) {
	s := &disk{database: d, environment: e, dir: filepath.Join(d.at(e).Dir(), "small")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of a small disk: %w", err)
	}
	size, err := s.size(ctx)
	if err != nil {
		return nil, errors.Join(err, os.Remove(s.dir))
	}
	if err := mount(s.dir, fmt.Sprintf("size=%d", size)); err != nil {
		return s, errors.Join(os.Remove(s.dir), s.trigger(ctx))
	}
	if err := s.give(d.at(e).Dir()); err != nil {
		return nil, errors.Join(err, unmount(s.dir))
	}
	if err := d.exec(ctx, e, fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", tablespace, s.dir)); err != nil {
		return nil, errors.Join(err, unmount(s.dir))
	}
	return s, s.move(ctx, tablespace)
}

// size is the size of the tables, and some room to continue for a while.
func (s *disk) size(ctx context.Context) (bytes int64, err error) {
	conn, err := pgx.Connect(ctx, s.url(s.environment))
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	const query = "SELECT coalesce(sum(pg_table_size(name::regclass)), 0)::bigint FROM unnest($1::text[]) AS name"
	const room = 32 << 20
	err = conn.QueryRow(ctx, query, s.tables).Scan(&bytes)
	return bytes + room, err
}

// give makes the disk that of the user whom Postgres runs as.
func (s *disk) give(of string) error {
	info, err := os.Stat(of)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Chown(s.dir, int(owner.Uid), int(owner.Gid))
	}
	return nil
}

// move moves the tables and their indexes to the tablespace.
func (s *disk) move(ctx context.Context, to string) error {
	var statements []string
	for _, table := range s.tables {
		statements = append(statements, fmt.Sprintf("ALTER TABLE %s SET TABLESPACE %s", table, to))
	}
	return s.exec(ctx, s.environment, append([]string{"SET lock_timeout = '60s'"}, statements...)...)
}

// fill takes what room there is, and waits until Postgres has found that out.
func (s *disk) fill(ctx context.Context) error {
	if s.dir == "" {
		return nil
	}
	file, err := os.Create(filepath.Join(s.dir, filler))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // What could not be written is the point.
	block := make([]byte, 4<<10)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill a small disk: %w", err)
	}
	return until(ctx, "Postgres has no room", func(ctx context.Context) bool {
		err := s.exec(ctx, s.environment, "CREATE TABLE full_disk (b text) TABLESPACE "+tablespace, "DROP TABLE full_disk")
		refused, ok := errors.AsType[*pgconn.PgError](err)
		return ok && refused.Code == diskFull
	})
}

// trigger has every write refused as on a full disk.
func (s *disk) trigger(ctx context.Context) error {
	s.dir = ""
	statements := []string{`CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '` + diskFull + `'; END $$`}
	for _, table := range s.tables {
		statements = append(statements, fmt.Sprintf(
			"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION full_disk()", table))
	}
	return s.exec(ctx, s.environment, statements...)
}

// close makes room again, and takes the disk away.
func (s *disk) close(ctx context.Context) error {
	if s.dir == "" {
		return s.exec(ctx, s.environment, "DROP FUNCTION full_disk CASCADE")
	}
	err := os.Remove(filepath.Join(s.dir, filler))
	err = errors.Join(err, s.move(ctx, "pg_default"))
	// What was dropped is unlinked by the next checkpoint.
	err = errors.Join(err, until(ctx, "the small disk is empty", func(ctx context.Context) bool {
		return s.exec(ctx, s.environment, "CHECKPOINT", "DROP TABLESPACE "+tablespace) == nil
	}))
	return errors.Join(err, unmount(s.dir), os.Remove(s.dir))
}
