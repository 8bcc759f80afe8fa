package receiver

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// evictAfter is how long a connection must be idle before a new one may replace it. The next request of a busier connection may be on its
// way.
const evictAfter = time.Second

// connections bounds the connections of a server, and tracks which of them may have a request in flight. http.Server.Shutdown closes a
// connection whose request has not been read yet, so Shutdown must wait until there is none.
type connections struct {
	limit   int
	mu      sync.Mutex
	changed *sync.Cond
	// open has every open connection, with its element of idle if it has one. Idle has an idleConnection for each connection that waits
	// for its next request, the longest idle first.
	open map[net.Conn]*list.Element
	idle *list.List
}

type idleConnection struct {
	net.Conn
	since time.Time
}

func newConnections(limit int) *connections {
	c := &connections{limit: limit, open: map[net.Conn]*list.Element{}, idle: list.New()}
	c.changed = sync.NewCond(&c.mu)
	return c
}

// admit reports whether the limit allows a new connection. At the limit, it closes the connection that has been idle longest: its client
// opens another for its next request, and the new connection brings a request.
func (c *connections) admit(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.limit {
		front := c.idle.Front()
		if front == nil {
			return false
		}
		longest, ok := front.Value.(idleConnection)
		if !ok || time.Since(longest.since) < evictAfter {
			return false
		}
		c.idle.Remove(front)
		delete(c.open, longest.Conn)
		_ = longest.Close() // The server sees it at its next read.
	}
	c.open[conn] = nil
	return true
}

// track is an http.Server's ConnState hook. It ignores evicted connections.
func (c *connections) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.open[conn]
	if !ok {
		return
	}
	if element != nil {
		c.idle.Remove(element)
		c.open[conn] = nil
	}
	switch state {
	case http.StateIdle:
		c.open[conn] = c.idle.PushBack(idleConnection{conn, time.Now()})
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
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
	for len(c.open) > c.idle.Len() && ctx.Err() == nil {
		c.changed.Wait()
	}
	return ctx.Err()
}
