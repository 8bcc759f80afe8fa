package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

const dropTimeout = 30 * time.Second

// startDatabases makes the two databases, which share nothing, but as a rule the server.
func (s *System) startDatabases(ctx context.Context) error {
	server, suffix := s.options.DatabaseURL, "_"+strings.ToLower(rand.Text())
	if server == "" {
		s.say("starting a Postgres")
		var err error
		if s.Postgres, err = postgres.Start(ctx, s.postgresOptions()); err != nil {
			return err
		}
		server, suffix = s.Postgres.URL(), ""
	}
	var err error
	if s.DatabaseURL, err = createDatabase(ctx, server, "verity_sync"+suffix); err != nil {
		return err
	}
	if s.options.OwnVerityServer {
		if s.VerityPostgres, err = postgres.Start(ctx, s.postgresOptions()); err != nil {
			return err
		}
		server, suffix = s.VerityPostgres.URL(), ""
	}
	if s.VerityDatabaseURL, err = createDatabase(ctx, server, "verity"+suffix); err != nil {
		return err
	}
	if s.Database, err = pgxpool.New(ctx, s.DatabaseURL); err != nil {
		return fmt.Errorf("connect to the middleware database: %w", err)
	}
	if s.VerityDatabase, err = verity.OpenDatabase(ctx, s.VerityDatabaseURL); err != nil {
		return fmt.Errorf("make Verity's database: %w", err)
	}
	return nil
}

func (s *System) postgresOptions() postgres.Options {
	return postgres.Options{NoSync: !s.options.Durable, Settings: s.options.PostgresSettings}
}

// createDatabase returns the URL of the new database.
func createDatabase(ctx context.Context, server, name string) (string, error) {
	if err := execute(ctx, server, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("create the database %s: %w", name, err)
	}
	created, err := url.Parse(server)
	if err != nil {
		// The parser's own error would show the password.
		return "", errors.New("the URL of Postgres is not of the form postgres://user:password@host:port/database")
	}
	created.Path = "/" + name
	return created.String(), nil
}

// closeDatabases leaves a server that was given as it was.
func (s *System) closeDatabases() error {
	if s.Database != nil {
		s.Database.Close()
	}
	if s.VerityDatabase != nil {
		s.VerityDatabase.Close()
	}
	var failures []error
	if s.VerityPostgres != nil {
		failures = append(failures, s.VerityPostgres.Close())
	}
	if s.Postgres != nil {
		return errors.Join(append(failures, s.Postgres.Close())...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	for _, made := range []string{s.DatabaseURL, s.VerityDatabaseURL} {
		if made == "" || made == s.VerityDatabaseURL && s.VerityPostgres != nil {
			continue
		}
		name := made[strings.LastIndex(made, "/")+1:]
		name, _, _ = strings.Cut(name, "?")
		if err := execute(ctx, s.options.DatabaseURL, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			failures = append(failures, fmt.Errorf("drop the database %s: %w", name, err))
		}
	}
	return errors.Join(failures...)
}

func execute(ctx context.Context, databaseURL, statement string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
