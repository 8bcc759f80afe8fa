// Package pgproxy is a proxy between a process and its Postgres. It does to connections what networks do: it loses the answer to a commit,
// leaves connections half open, and delays answers. It counts round trips. It knows how messages of Postgres' protocol are framed, and
// nothing of what is stored. It limits neither how many answers are in flight nor how many bytes.
package pgproxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a way to one Postgres server. It is safe for concurrent use.
type Proxy struct {
	databaseURL string
	delay       time.Duration
	listener    net.Listener
	// next is where a connection is cut next; nil is nowhere.
	next  atomic.Pointer[Cut]
	trips atomic.Int64
	// answers is the number of answers after which a connection becomes half open; 0 is never.
	answers atomic.Int64

	mu     sync.Mutex
	server string
	// halfOpen says that new connections are half open as well.
	halfOpen bool
	links    map[*link]struct{}
	closed   bool
	running  sync.WaitGroup
}

// Cut says where a connection is cut: after Postgres has committed, and before the client has the answer.
type Cut struct {
	// Command begins the tag of the command that commits; "" is any.
	Command string
	// KeepsTag passes on that the command is complete, which Postgres says before it commits a statement that is not in a transaction.
	KeepsTag bool
	// Always cuts every connection at its next such command, not only the first that comes to one.
	Always bool
}

// New listens on a free port of 127.0.0.1 for connections to the server of a database's URL. Close must be called in the end.
func New(ctx context.Context, databaseURL string) (*Proxy, error) {
	return NewDelayed(ctx, databaseURL, 0)
}

// NewDelayed is New with a delay of every answer, as a longer network has it.
func NewDelayed(ctx context.Context, databaseURL string, delay time.Duration) (*Proxy, error) {
	server, err := url.Parse(databaseURL)
	if err != nil {
		return nil, errURL
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for connections to Postgres: %w", err)
	}
	p := &Proxy{databaseURL: databaseURL, delay: delay, server: server.Host, listener: listener, links: map[*link]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// errURL has no cause: the parser's own error would show the password.
var errURL = errors.New("the URL of Postgres is not of the form postgres://user:password@host:port/database")

// URL is that of the database that New was given, through the proxy.
func (p *Proxy) URL() string { return p.Through(p.databaseURL) }

// Through returns the URL of a database of the server, through the proxy.
func (p *Proxy) Through(databaseURL string) string {
	return withHost(databaseURL, p.listener.Addr().String())
}

// Direct returns the URL of a database without the proxy.
func (p *Proxy) Direct(databaseURL string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return withHost(databaseURL, p.server)
}

func withHost(databaseURL, host string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return databaseURL
	}
	u.Host = host
	return u.String()
}

// Trips returns how often Postgres has reported that it is ready for the next query: once for each round trip.
func (p *Proxy) Trips() int64 { return p.trips.Load() }

// Route connects new clients to the server of another URL, as a failover does, and closes all connections.
func (p *Proxy) Route(databaseURL string) error {
	to, err := url.Parse(databaseURL)
	if err != nil {
		return errURL
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = to.Host
	for l := range p.links {
		l.close()
	}
	return nil
}

// Cut sets where a connection is cut next; nil is nowhere.
func (p *Proxy) Cut(c *Cut) { p.next.Store(c) }

// Cutting reports whether a cut is still to be made.
func (p *Proxy) Cutting() bool { return p.next.Load() != nil }

// HalfOpen leaves all connections open and passes nothing on them any more, forever; neither side notices. New connections are half open,
// too, until Heal.
func (p *Proxy) HalfOpen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halfOpen = true
	for l := range p.links {
		l.dead.Store(true)
	}
}

// HangAfter makes every connection half open as soon as Postgres was ready for a query so many times: after 1, a client has logged in, and
// its first query has no answer.
func (p *Proxy) HangAfter(answers int) { p.answers.Store(int64(answers)) }

// Heal connects new clients again. Connections that are half open stay so until their client closes them.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.halfOpen = false
}

// Close stops listening and closes all connections.
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
		asking.Wait() // Postgres has gone, and the client does not notice.
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
	out, finish := p.toClient(l)
	defer func() { finish() }()
	messages := bufio.NewReaderSize(l.server, chunkSize)
	var here *Cut
	var ready int64
	for {
		kind, size, err := next(messages)
		if err != nil {
			return
		}
		switch kind {
		case readyForQuery:
			p.trips.Add(1)
			if here != nil {
				_ = out.Flush()
				return
			}
			ready++
		case commandComplete:
			message := make([]byte, size)
			if _, err := io.ReadFull(messages, message); err != nil {
				return
			}
			if c := p.cut(message[headSize:]); c != nil {
				if here = c; !c.KeepsTag {
					continue
				}
			}
			_, err = out.Write(message)
			size = 0
		}
		if err == nil {
			_, err = io.CopyN(out, messages, size)
		}
		last := kind == readyForQuery && ready == p.answers.Load()
		if err == nil && (last || messages.Buffered() == 0) {
			err = out.Flush()
		}
		if err != nil {
			return
		}
		if last {
			finish()
			l.dead.Store(true)
			out, finish = bufio.NewWriter(io.Discard), func() {}
		}
	}
}

// The kinds of messages that the proxy looks at. A message begins with its kind, and its length without that.
const (
	readyForQuery   = 'Z'
	commandComplete = 'C'

	headSize  = 5
	chunkSize = 64 << 10
)

// next returns the kind of the next message, and its size with its head.
func next(messages *bufio.Reader) (kind byte, size int64, err error) {
	head, err := messages.Peek(headSize)
	if err != nil {
		return 0, 0, err
	}
	return head[0], int64(binary.BigEndian.Uint32(head[1:])) + 1, nil
}

// cut returns the cut that a command with this tag has to make, and nil if there is none.
func (p *Proxy) cut(tag []byte) *Cut {
	if c := p.next.Load(); c != nil && bytes.HasPrefix(tag, []byte(c.Command)) && (c.Always || p.next.CompareAndSwap(c, nil)) {
		return c
	}
	return nil
}

// toClient returns a writer to the client. With a delay, what is flushed arrives that much later. finish waits until all of it has.
func (p *Proxy) toClient(l *link) (out *bufio.Writer, finish func()) {
	client := gate{l, l.client}
	if p.delay == 0 {
		return bufio.NewWriterSize(client, chunkSize), func() {}
	}
	late := &delayed{delay: p.delay, chunks: make(chan chunk, maxChunks)}
	var writing sync.WaitGroup
	writing.Go(func() { late.deliver(client) })
	return bufio.NewWriterSize(late, chunkSize), func() {
		close(late.chunks)
		writing.Wait()
	}
}

// maxChunks is how many chunks of a connection may be on their way.
const maxChunks = 1024

// delayed is a writer that delivers each chunk later.
type delayed struct {
	delay  time.Duration
	chunks chan chunk
}

type chunk struct {
	bytes []byte
	due   time.Time
}

func (d *delayed) Write(b []byte) (int, error) {
	d.chunks <- chunk{bytes.Clone(b), time.Now().Add(d.delay)}
	return len(b), nil
}

// deliver writes the chunks when they are due. After an error it drops the rest, so that Write does not block.
func (d *delayed) deliver(to io.Writer) {
	broken := false
	for c := range d.chunks {
		time.Sleep(time.Until(c.due))
		if !broken {
			_, err := to.Write(c.bytes)
			broken = err != nil
		}
	}
}
