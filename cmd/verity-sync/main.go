// Command verity-sync receives GoHighLevel's webhooks, keeps them in Postgres and brings them to Verity and Aloware. Its
// subcommands are its processes.
package main

import (
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	// The first SIGINT or SIGTERM ends the context, a second one the process.
	ctx := ctrl.SetupSignalHandler()
	if err := newRootCommand(os.Environ()).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(exitCode(err))
	}
}
