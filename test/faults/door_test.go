package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// door is where a destination listens: what happens to connections before anybody speaks HTTP happens here.
type door struct {
	handler http.Handler
	address string
	// resets has connections reset as soon as they are accepted, and knocks counts those.
	resets atomic.Bool
	knocks atomic.Int64

	mu       sync.Mutex
	server   *http.Server
	listener net.Listener
	serving  sync.WaitGroup
}

// openDoor listens on a free port of 127.0.0.1.
func openDoor(ctx context.Context, handler http.Handler) (*door, error) {
	d := &door{handler: handler, address: "127.0.0.1:0"}
	if err := d.open(ctx); err != nil {
		return nil, err
	}
	d.address = d.listener.Addr().String()
	return d, nil
}

func (d *door) url() string { return "http://" + d.address }

// open starts to listen, at the address where it listened before.
func (d *door) open(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", d.address)
	if err != nil {
		return fmt.Errorf("listen for a destination: %w", err)
	}
	d.listener = &resetting{listener, d}
	d.server = &http.Server{Handler: d.handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	server := d.server
	d.serving.Go(func() { _ = server.Serve(d.listener) })
	return nil
}

// shut closes every connection, and refuses new ones.
func (d *door) shut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.server.Close()
	d.serving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// resetting is a listener that resets connections while its door says so.
type resetting struct {
	net.Listener
	door *door
}

// Accept implements net.Listener.
func (l *resetting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || !l.door.resets.Load() {
			return conn, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
		l.door.knocks.Add(1)
	}
}
