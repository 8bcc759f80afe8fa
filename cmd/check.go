package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

// checkFlags are the flags of `verity-sync check`.
type checkFlags struct {
	output string
}

func (f *checkFlags) bind(fs *pflag.FlagSet) {
	fs.StringVarP(&f.output, "output", "o", "text", "output format: text or json")
}

func (f *checkFlags) validate() error {
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("--output: expected text or json, got %q", f.output)
	}
	return nil
}

func newCheckCommand(environ []string) *cobra.Command {
	var flags checkFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check both databases and list problems",
		Long: "Check the middleware database and Verity's as receivers and controllers will use them: the connection, the server,\n" +
			"the schema and the privileges of the role. It prints the finding of every check and changes nothing.\n\n" +
			"Exit codes:\n" +
			"  0  no check found an error; there may be warnings\n" +
			"  1  a database is not reachable\n" +
			"  3  a check found an error, or the configuration is invalid",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load[config.Migrate](environ, flags.validate())
			if err != nil {
				return err
			}
			return runCheck(cmd.Context(), cfg, flags, cmd.OutOrStdout())
		},
	}
	flags.bind(cmd.Flags())
	return setup[config.Migrate](cmd)
}
