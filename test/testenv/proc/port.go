package proc

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// FreePort returns a TCP port of 127.0.0.1 that is free. It lies below the ports that kernels hand out to outgoing connections
// (from 32768 on Linux): a server that is down for a while must find its port free when it restarts, and a client that dials an unused
// port of that range on the same machine can even end up connected to itself.
func FreePort(ctx context.Context) (int, error) {
	const lowest, highest, tries = 20000, 32000, 100
	var config net.ListenConfig
	for range tries {
		port := lowest + rand.IntN(highest-lowest) //nolint:gosec // a port need not be unpredictable
		listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return port, listener.Close()
	}
	return 0, errors.New("no free port on 127.0.0.1 between 20000 and 32000")
}
