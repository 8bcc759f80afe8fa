package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/version"
)

// newRootCommand returns the program. Its processes read the environment given.
func newRootCommand(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:     "verity-sync",
		Short:   "Sync GoHighLevel's webhooks to Verity and Aloware",
		Version: version.String(),
		Long: "verity-sync stores every webhook of GoHighLevel before it acknowledges it, forwards it to Verity, syncs\n" +
			"appointments to Verity's leads and contacts to Aloware. The subcommands receiver and controller are its\n" +
			"processes; the others are tools for their database.\n\n" +
			"Flags configure how a process runs; environment variables configure what it connects to.",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noArguments,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if holdsURL(err.Error()) {
			err = errors.New("invalid flag; it is not shown because it may contain a password; see --help")
		}
		return permanent(err)
	})
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newReceiverCommand(environ), newControllerCommand(environ), newMigrateCommand(environ), newReplayCommand(environ),
		newExplainCommand(environ), newEraseCommand(environ), newCheckCommand(environ))
	return root
}

// setup adds what all commands share: no arguments, and the environment variables in --help.
func setup[P config.Process](cmd *cobra.Command) *cobra.Command {
	cmd.Args = noArguments
	// Subcommands inherit the template.
	cmd.SetUsageTemplate(cmd.UsageTemplate() + "\nEnvironment:\n" + describe(config.Variables[P]()))
	return cmd
}

// noArguments rejects every argument. Its error does not show an argument that may be a database URL: the password would be in
// the container's log.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case holdsURL(args[0]):
		return permanent(fmt.Errorf("%q takes no URL as an argument: set an environment variable, see --help", cmd.CommandPath()))
	default:
		return permanent(fmt.Errorf("unknown command %q for %q, see --help", args[0], cmd.CommandPath()))
	}
}

// holdsURL reports whether text may contain a URL or a keyword with its value.
func holdsURL(text string) bool {
	return strings.ContainsAny(text, "@=") || strings.Contains(text, "://")
}

// describe lists variables in the format of flags. A template prints the text, so it must not contain braces.
func describe(variables []config.Variable) string {
	var text strings.Builder
	for _, v := range variables {
		names := v.Name
		if v.File {
			names += ", " + v.FileName()
		}
		fmt.Fprintf(&text, "  %s\n        %s\n", names, v.Description())
	}
	return text.String()
}

// load reads the environment of a process. Its error lists all problems, including those of the flags, one a line.
func load[P config.Process](environ []string, flags error) (P, error) {
	p, err := config.Load[P](environ)
	if err = errors.Join(flags, err); err != nil {
		return p, permanent(fmt.Errorf("invalid configuration:\n%w", err))
	}
	return p, nil
}
