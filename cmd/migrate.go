package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// migrateFlags say what a migration does.
type migrateFlags struct {
	dryRun         bool
	forwardAdopted bool
}

func (f *migrateFlags) bind(fs *pflag.FlagSet) {
	fs.BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and change nothing")
	fs.BoolVar(&f.forwardAdopted, "forward-adopted", false,
		"forward unfinished events of the predecessor to Verity too, which it did itself when they came in")
}

func newMigrateCommand(environ []string) *cobra.Command {
	var flags migrateFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the middleware database up to date",
		Long: "Bring the middleware database up to date, and adopt one of the predecessor, every row and id kept.\n" +
			"Several migrations at a time wait for each other.\n\n" +
			"It looks first for what is in the way. Where it finds something, it changes nothing and lists what to do.\n\n" +
			"Exit codes:\n" +
			"  0  the database is up to date; with --dry-run: it can be migrated\n" +
			"  1  a failure that may pass, such as a database that is down: run it again\n" +
			"  3  a failure that no retry changes: a mistake in the configuration, a wrong password, an unknown database,\n" +
			"     a missing right, something in the way of the migration, or a schema that is too new",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Migrate](environ, nil)
			if err != nil {
				return err
			}
			return classified(runMigrate(cmd.Context(), cfg, flags, cmd.OutOrStdout()))
		},
	}
	flags.bind(cmd.Flags())
	cmd.AddCommand(newMigrateStatusCommand(environ))
	return setup[config.Migrate](cmd)
}

func newMigrateStatusCommand(environ []string) *cobra.Command {
	return setup[config.Tool](&cobra.Command{
		Use:   "status",
		Short: "Say where the middleware database stands",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Tool](environ, nil)
			if err != nil {
				return err
			}
			return classified(runMigrateStatus(cmd.Context(), cfg, cmd.OutOrStdout()))
		},
	})
}
