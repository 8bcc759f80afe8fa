package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/sim/webhooksink"
)

// A simulator answers on an address of its own.
type simulator struct {
	server http.Server
	faults *fault.Script
}

// close ends those whom a fault keeps waiting as well.
func (s *simulator) close() error {
	s.faults.Clear()
	return s.server.Close()
}

// startSimulators starts them in this process, so that tests can read and change their state.
func (s *System) startSimulators(ctx context.Context) error {
	s.say("starting the simulators of Verity, GoHighLevel and Aloware")
	s.alowareToken = rand.Text()
	s.Sender = ghlsender.New(nil)
	s.Sender.Secret = rand.Text()
	s.Verity, s.GHL, s.Aloware, s.WebhookSink = verity.New(), ghlapi.New(), aloware.New(s.alowareToken), webhooksink.New()
	s.Verity.Secret = rand.Text()
	s.Verity.OnContact = s.VerityDatabase.EnsureContact
	for _, sim := range []struct {
		url     *string
		handler http.Handler
		faults  *fault.Script
	}{
		{&s.VerityURL, s.Verity, &s.Verity.Faults},
		{&s.GHLURL, s.GHL, &s.GHL.Faults},
		{&s.AlowareURL, s.Aloware, &s.Aloware.Faults},
		{&s.WebhookSinkURL, s.WebhookSink, &s.WebhookSink.Faults},
	} {
		var err error
		if *sim.url, err = s.serve(ctx, sim.handler, sim.faults); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.tokensDir(), 0o700); err != nil {
		return fmt.Errorf("make the directory of GHL's tokens: %w", err)
	}
	s.GHL.PutLocation(ghlapi.Location{ID: s.Sender.LocationID, Token: rand.Text()})
	return nil
}

// AddLocation makes a location known to GHL, and its token to verity-sync.
func (s *System) AddLocation(id string) error {
	token := rand.Text()
	s.GHL.PutLocation(ghlapi.Location{ID: id, Token: token})
	if err := os.WriteFile(filepath.Join(s.tokensDir(), id), []byte(token), 0o600); err != nil {
		return fmt.Errorf("write the token of a location: %w", err)
	}
	return nil
}

func (s *System) tokensDir() string { return filepath.Join(s.Dir, "ghl-tokens") }

func (s *System) serve(ctx context.Context, handler http.Handler, faults *fault.Script) (string, error) {
	address, err := s.freeAddress(ctx)
	if err != nil {
		return "", fmt.Errorf("find a port for a simulator: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen for a simulator: %w", err)
	}
	sim := &simulator{server: http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}, faults: faults}
	s.simulators = append(s.simulators, sim)
	go func() {
		if err := sim.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Errorf("a simulator ended: %w", err))
		}
	}()
	return "http://" + address, nil
}

// environment is what the processes need to find each other.
func (s *System) environment() map[string]string {
	home, _ := s.GHL.Location(s.Sender.LocationID)
	env := map[string]string{
		"KUBECONFIG":   s.Kubeconfig,
		"DATABASE_URL": s.DatabaseURL,

		"GHL_WEBHOOK_PUBLIC_KEYS": s.Sender.PublicKey(),
		"GHL_WEBHOOK_SECRETS":     s.Sender.Secret,
		"JOBS_SECRET":             s.JobsSecret,

		"VERITY_BASE_URL":       s.VerityURL,
		"VERITY_WEBHOOK_SECRET": s.Verity.Secret,
		"VERITY_DATABASE_URL":   s.VerityDatabaseURL,
		"GHL_API_BASE_URL":      s.GHLURL,
		"GHL_API_TOKEN":         home.Token,
		"GHL_TOKENS_DIR":        s.tokensDir(),
		"ALOWARE_BASE_URL":      s.AlowareURL,
		"ALOWARE_API_TOKEN":     s.alowareToken,
	}
	if s.options.WebhookSink {
		env["WEBHOOK_SINK_URL"], env["WEBHOOK_SINK_SECRET"] = s.WebhookSinkURL, s.WebhookSink.Secret
		env["WEBHOOK_SINK_ALLOW_PRIVATE"] = "true"
	}
	return env
}
