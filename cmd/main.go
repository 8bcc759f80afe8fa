// Command verity-sync receives GoHighLevel's webhooks, stores them in Postgres and syncs them to Verity and Aloware. Its subcommands are
// its processes and tools.
package main

import (
	"fmt"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"

	webhooksv1alpha1 "github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	// +kubebuilder:scaffold:imports
)

func main() {
	// The first SIGINT or SIGTERM ends the context, a second one the process.
	ctx := ctrl.SetupSignalHandler()
	if err := newRootCommand(os.Environ()).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(exitCode(err))
	}
}

// newScheme returns the types that the processes read and write in the cluster.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(webhooksv1alpha1.AddToScheme(scheme))
	// +kubebuilder:scaffold:scheme
	return scheme
}

// addControllers adds the reconcilers to the manager. `kubebuilder create api` adds further ones here.
func addControllers(mgr ctrl.Manager, webhookEvents *controllers.WebhookEventReconciler, setupLog logr.Logger) error {
	if err := webhookEvents.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up the controller: %w", err)
	}
	// +kubebuilder:scaffold:builder
	setupLog.V(1).Info("added the controllers")
	return nil
}
