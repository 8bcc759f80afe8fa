package receiver

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// evictAfter is how long a connection must have been idle to be closed for a new one: the client of a busier one may have sent its next
// request.
const evictAfter = time.Second

// connections bounds the connections of a server, and knows which of them may still have a request on them. http.Server.Shutdown drops
// those whose request has not been read yet, so that it must wait until there are none.
type connections struct {
	limit   int
	mu      sync.Mutex
	changed *sync.Cond
	// open holds every open connection, with its element of idle where it has one. Idle holds an idleConnection for each one that is kept
	// for a next request, the longest idle one first.
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

// admit reports whether there is room for a new connection. Where there is none, it makes some by closing the connection that has been
// idle longest: the client of that one opens another for its next request, whereas the new one brings a request.
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
		_ = longest.Close() // The server finds out when it reads, whatever the error.
	}
	c.open[conn] = nil
	return true
}

// track is an http.Server's ConnState hook. It ignores connections that were evicted.
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
