package receiver

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// connections knows which connections may still have a request on them. http.Server.Shutdown drops those whose request
// has not been read yet, so that it must wait until there are none.
type connections struct {
	mu      sync.Mutex
	changed *sync.Cond
	busy    map[net.Conn]struct{}
}

func newConnections() *connections {
	c := &connections{busy: map[net.Conn]struct{}{}}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// track is an http.Server's ConnState hook.
func (c *connections) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew, http.StateActive:
		c.busy[conn] = struct{}{}
	default:
		delete(c.busy, conn)
	}
	c.changed.Broadcast()
}

// waitUntilQuiet returns when every connection is idle or closed, or with the error of ctx.
func (c *connections) waitUntilQuiet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.busy) > 0 && ctx.Err() == nil {
		c.changed.Wait()
	}
	return ctx.Err()
}
