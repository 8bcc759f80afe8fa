package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"syscall"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// freeAddress returns a free address of 127.0.0.1 that no other system, of this or of another process, gets until this one is closed:
// neither before a process listens on it, nor while that process is down.
func (s *System) freeAddress(ctx context.Context) (string, error) {
	for {
		port, err := proc.FreePort(ctx)
		if err != nil {
			return "", err
		}
		reserved, err := s.reserve(ctx, port)
		if err != nil {
			return "", fmt.Errorf("reserve the port %d: %w", port, err)
		}
		if reserved {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
		}
	}
}

// reserve takes the socket that stands for a port, and reports whether it was free. Linux has sockets that are names only: they leave no
// file and go with the process. Elsewhere chance has to do.
func (s *System) reserve(ctx context.Context, port int) (bool, error) {
	if runtime.GOOS != "linux" {
		return true, nil
	}
	var config net.ListenConfig
	socket, err := config.Listen(ctx, "unix", fmt.Sprintf("@verity-sync/port/%d", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.reservations = append(s.reservations, socket)
	return true, nil
}

func (s *System) closeReservations() error {
	var failures []error
	for _, socket := range s.reservations {
		failures = append(failures, socket.Close())
	}
	return errors.Join(failures...)
}
