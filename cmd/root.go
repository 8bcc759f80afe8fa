package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/version"
)

// newRootCommand returns the program, with the environment that its processes read.
func newRootCommand(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:     "verity-sync",
		Short:   "Bring GoHighLevel's webhooks to Verity and Aloware, each of them once",
		Version: version.String(),
		Long: "verity-sync stores every webhook of GoHighLevel before it acknowledges it, forwards it to Verity, keeps\n" +
			"Verity's leads in step with appointments and syncs contacts to Aloware. Its subcommands are its processes:\n" +
			"a receiver for the webhooks and a controller for the work; and the tools for their database.\n\n" +
			"How a process runs is said by flags, what it connects to by environment variables.",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noArguments,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if holdsURL(err.Error()) {
			err = errors.New("a flag is not understood; it is not shown, since it may hold a password")
		}
		return permanent(err)
	})
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newReceiverCommand(environ), newControllerCommand(environ), newMigrateCommand(environ), newReplayCommand(environ),
		newExplainCommand(environ), newEraseCommand(environ), newCheckCommand(environ))
	return root
}

// setup gives a command what every process has: no arguments, and its environment in --help.
func setup[P config.Process](cmd *cobra.Command) *cobra.Command {
	cmd.Args = noArguments
	// A template of a command holds for its subcommands too.
	cmd.SetUsageTemplate(cmd.UsageTemplate() + "\nEnvironment:\n" + describe(config.Variables[P]()))
	return cmd
}

// noArguments refuses every argument. One that may be a database URL is not shown: its password would be in the container's log.
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

// holdsURL reports whether text may hold a URL or a keyword with its value.
func holdsURL(text string) bool {
	return strings.ContainsAny(text, "@=") || strings.Contains(text, "://")
}

// describe lists variables in the manner of flags. A template prints it, so that it must not hold braces.
func describe(variables []config.Variable) string {
	var text strings.Builder
	for _, v := range variables {
		names := v.Name
		if v.File {
			names += ", " + v.FileName()
		}
		fmt.Fprintf(&text, "  %s\n        %s", names, v.Meaning)
		switch {
		case v.Required:
			text.WriteString(" (required)")
		case v.Default != "":
			fmt.Fprintf(&text, " (default %s)", v.Default)
		default:
			fmt.Fprintf(&text, " (unset: %s)", v.Unset)
		}
		text.WriteString("\n")
	}
	return text.String()
}

// load reads the environment of a process. Its error has everything that is wrong, one mistake a line, those of the flags
// included.
func load[P config.Process](environ []string, flags error) (P, error) {
	p, err := config.Load[P](environ)
	if err = errors.Join(flags, err); err != nil {
		return p, permanent(fmt.Errorf("the configuration has mistakes:\n%w", err))
	}
	return p, nil
}
