// Command sim serves the simulators of Verity, GoHighLevel's API and Aloware until it is stopped, each on a port of its own. Their control
// requests, below /_sim/, script faults and read back what they were sent.
//
// Its environment has the variables of a verity-sync controller that names the same secrets.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
)

// startTimeout is how long Verity's database may take to answer.
const startTimeout = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	v := verity.New()
	v.Secret = os.Getenv("VERITY_WEBHOOK_SECRET")
	database, err := openDatabase(ctx, os.Getenv("VERITY_DATABASE_URL"))
	if err != nil {
		return fmt.Errorf("open Verity's database: %w", err)
	}
	defer database.Close()
	v.OnContact = database.EnsureContact
	ghl := ghlapi.New()
	ghl.PutLocation(ghlapi.Location{ID: os.Getenv("SIM_GHL_LOCATION_ID"), Token: os.Getenv("GHL_API_TOKEN")})

	group, ctx := errgroup.WithContext(ctx)
	for address, handler := range map[string]http.Handler{":8080": v, ":8081": ghl, ":8082": aloware.New(os.Getenv("ALOWARE_API_TOKEN"))} {
		server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		context.AfterFunc(ctx, func() { _ = server.Close() })
		group.Go(func() error {
			if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// openDatabase waits for a Postgres that is just starting.
func openDatabase(ctx context.Context, url string) (*verity.Database, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		database, err := verity.OpenDatabase(ctx, url)
		if err == nil {
			return database, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Second):
		}
	}
}
