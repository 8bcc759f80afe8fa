package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// maxProbeConnections bounds the connections to the probes. The kubelet opens one for each probe and closes it.
const maxProbeConnections = 32

// ServeProbes answers /healthz, /readyz and / on l until ctx ends, and closes l. The webhooks' listener serves them, too. A separate
// listener answers them even if that one is at its limit of connections, so that the kubelet does not restart a flooded receiver.
func (s *Server) ServeProbes(ctx context.Context, l net.Listener) error {
	conns := newConnections(maxProbeConnections)
	limited := limit(l, conns, func() {})
	defer limited.refusing.Wait()
	srv := s.newHTTPServer(http.HandlerFunc(s.serveProbe), conns)
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(limited); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve probes: %w", err)
	}
	return nil
}
