// Package pgproxy stands between a process and Postgres and does to their connections what networks do: a commit of which the answer is
// lost, and connections that are half open. It knows as much of Postgres' protocol as that takes, and nothing of what is stored.
package pgproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Proxy is a way to one Postgres server. It is safe for concurrent use.
type Proxy struct {
	url      string
	listener net.Listener
	// next is where a connection is cut next; nil is nowhere.
	next atomic.Pointer[Cut]

	mu     sync.Mutex
	server string
	// halfOpen says that new connections are half open as well.
	halfOpen bool
	// answers is after how many answers a connection becomes half open; 0 is never.
	answers atomic.Int64
	links   map[*link]struct{}
	closed  bool
	running sync.WaitGroup
}

// Cut says where a connection is cut: once Postgres has committed, and before the client is told.
type Cut struct {
	// Command begins the tag of the command that commits; "" is any.
	Command string
	// KeepsTag passes on that the command is complete, which Postgres says before it commits a statement that is not in a transaction.
	KeepsTag bool
	// Always cuts every connection at its next such command, not only the first that comes to one.
	Always bool
}

// New listens on a free port of 127.0.0.1 for connections to the database at databaseURL. Close must be called in the end.
func New(ctx context.Context, databaseURL string) (*Proxy, error) {
	through, err := url.Parse(databaseURL)
	if err != nil {
		// The parser's own error would show the password.
		return nil, errors.New("the URL of Postgres is not of the form postgres://user:password@host:port/database")
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for connections to Postgres: %w", err)
	}
	p := &Proxy{server: through.Host, listener: listener, links: map[*link]struct{}{}}
	through.Host = listener.Addr().String()
	p.url = through.String()
	p.running.Go(p.accept)
	return p, nil
}

// URL is that of the database, through the proxy.
func (p *Proxy) URL() string { return p.url }

// Route has new connections go to the server of another URL, as a failover does, and ends those that there are.
func (p *Proxy) Route(databaseURL string) error {
	to, err := url.Parse(databaseURL)
	if err != nil {
		return errors.New("the URL of Postgres is not of the form postgres://user:password@host:port/database")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = to.Host
	for l := range p.links {
		l.close()
	}
	return nil
}

// Cut has a connection cut; nil has none cut any more.
func (p *Proxy) Cut(c *Cut) { p.next.Store(c) }

// Cutting reports whether a cut is still to be made.
func (p *Proxy) Cutting() bool { return p.next.Load() != nil }

// HalfOpen has the connections that there are go on as if they were alive, and nothing get through on them any more, for ever: neither side
// is told. So it goes with new ones, until Heal.
func (p *Proxy) HalfOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halfOpen = true
	for l := range p.links {
		l.dead.Store(true)
	}
}

// HangAfter has every connection become half open once Postgres was ready for a query so many times: after 1, a client has logged in, and its
// first query is not answered.
func (p *Proxy) HangAfter(answers int) { p.answers.Store(int64(answers)) }

// Heal lets new connections through. Those that are half open stay so until their client gives them up.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halfOpen = false
}

// Close ends all connections and listens no more.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(client) })
	}
}

// link is a connection of a client and the one to Postgres that goes with it.
type link struct {
	client, server net.Conn
	dead           atomic.Bool
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

func (p *Proxy) connect(client net.Conn) {
	var dialer net.Dialer
	p.mu.Lock()
	address := p.server
	p.mu.Unlock()
	server, err := dialer.DialContext(context.Background(), "tcp", address)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server}
	defer l.close()
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	var asking sync.WaitGroup
	asking.Go(func() {
		defer l.close()
		_, _ = io.Copy(gate{l, server}, client)
	})
	p.answer(l)
	if l.dead.Load() {
		asking.Wait() // Postgres has gone, and nobody tells the client.
	}
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	l.dead.Store(p.halfOpen)
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// gate swallows what is written to a link that is dead.
type gate struct {
	link *link
	to   io.Writer
}

func (g gate) Write(b []byte) (int, error) {
	if g.link.dead.Load() {
		return len(b), nil
	}
	return g.to.Write(b)
}

// answer passes on what Postgres says, up to the cut.
func (p *Proxy) answer(l *link) {
	client, messages := gate{l, l.client}, pgproto3.NewFrontend(l.server, io.Discard)
	var here *Cut
	var ready int64
	for {
		message, err := messages.Receive()
		if err != nil {
			return
		}
		drop, last := false, false
		switch said := message.(type) {
		case *pgproto3.CommandComplete:
			if next := p.next.Load(); next != nil && strings.HasPrefix(string(said.CommandTag), next.Command) && p.take(next) {
				here, drop = next, !next.KeepsTag
			}
		case *pgproto3.ReadyForQuery:
			if here != nil {
				return
			}
			ready++
			last = ready == p.answers.Load()
		}
		encoded, err := message.Encode(nil)
		if err != nil {
			return
		}
		if drop {
			continue
		}
		if _, err := client.Write(encoded); err != nil {
			return
		}
		if last {
			l.dead.Store(true)
		}
	}
}

// take reports whether the cut is this connection's to make.
func (p *Proxy) take(c *Cut) bool { return c.Always || p.next.CompareAndSwap(c, nil) }
