package receiver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
)

// pipes is a listener with connections in memory, so that a test can run on the clock of a synctest bubble: with the real deadlines, but
// without waiting for them.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

var errRefused = errors.New("connection refused")

// dial returns a connection; it fails once the listener is closed.
func (p *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, errRefused
	}
}

// bubble is a receiver in a synctest bubble.
type bubble struct {
	*environment
	*pipes
	// stop is what SIGTERM does, served receives what Serve returned.
	stop   context.CancelFunc
	served chan error
}

// inBubble runs a test against a receiver on its own clock. The test fails if the receiver does not stop.
func inBubble(t *testing.T, given func(*environment), test func(*testing.T, *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newEnvironment(t)
		if given != nil {
			given(f)
		}
		server, err := receiver.New(f.config)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		b := &bubble{
			environment: f, pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})},
			stop: cancel, served: make(chan error, 1),
		}
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			b.served <- server.Serve(ctx, b.pipes)
		}()
		test(t, b)
		cancel()
		<-finished
	})
}

// client is a connection to the receiver.
type client struct {
	net.Conn
}

// open connects and writes text, which may be less than a request.
func (b *bubble) open(t *testing.T, text string) client {
	t.Helper()
	conn, err := b.dial()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	return client{conn}
}

// deliver sends a whole webhook on a new connection and returns the answer.
func (b *bubble) deliver(t *testing.T) response {
	t.Helper()
	return b.open(t, webhook).answer(t)
}

func (c client) answer(t *testing.T) response {
	t.Helper()
	return read(t, c, "POST")
}

// assertClosed waits until the receiver has closed the connection.
func (c client) assertClosed(t *testing.T) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	assert.Zero(t, n)
	assert.ErrorIs(t, err, io.EOF)
}

var webhook = requestText("POST", ghl.Path, secret, workflow)
