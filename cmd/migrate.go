package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// migrateFlags are the flags of `verity-sync migrate`.
type migrateFlags struct {
	dryRun         bool
	forwardAdopted bool
}

func (f *migrateFlags) bind(fs *pflag.FlagSet) {
	fs.BoolVar(&f.dryRun, "dry-run", false, "report what a migration would do, and change nothing")
	fs.BoolVar(&f.forwardAdopted, "forward-adopted", false,
		"also forward unfinished events of the legacy middleware to Verity; it forwarded them when it received them")
}

func newMigrateCommand(environ []string) *cobra.Command {
	var flags migrateFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Migrate the middleware database to the schema of this release",
		Long: "Migrate the middleware database to the schema of this release, or adopt a database of the legacy middleware\n" +
			"with all its rows and ids. Only one migration runs at a time; further ones wait.\n\n" +
			"The migration first checks for obstacles. If it finds one, it changes nothing and lists what to do.\n\n" +
			"Exit codes:\n" +
			"  0  the database is up to date; with --dry-run: it can be migrated\n" +
			"  1  a transient failure, such as a database that is down: run it again\n" +
			"  3  a permanent failure: invalid configuration, a wrong password, an unknown database, a missing privilege,\n" +
			"     an obstacle to the migration, or a schema that is too new",
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
		Short: "List the migrations of the middleware database",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Tool](environ, nil)
			if err != nil {
				return err
			}
			return classified(runMigrateStatus(cmd.Context(), cfg, cmd.OutOrStdout()))
		},
	})
}
