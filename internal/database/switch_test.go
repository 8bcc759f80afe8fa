package database_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// doorway forwards new connections to an address that can change, as a Service does.
type doorway struct {
	address string
	target  atomic.Pointer[string]
}

func newSwitch(t *testing.T, target string) *doorway {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &doorway{address: listener.Addr().String()}
	d.to(target)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(t.Context(), "tcp", *d.target.Load())
			if err != nil {
				_ = client.Close()
				continue
			}
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				context.AfterFunc(t.Context(), func() { _ = pair[0].Close() })
				go func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].Close()
				}()
			}
		}
	}()
	return d
}

func (d *doorway) to(target string) { d.target.Store(&target) }
