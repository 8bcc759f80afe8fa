// Package proxy stands between a program and its Postgres: it makes every answer late by the same time, as a network does that is longer,
// and counts the round trips. It bounds neither how many answers are under way nor how many bytes.
package proxy

import (
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

// Proxy is one that listens. Close ends it and the connections through it.
type Proxy struct {
	server   string
	delay    time.Duration
	listener net.Listener
	trips    atomic.Int64

	mu    sync.Mutex
	conns []net.Conn
}

// Start starts a proxy in front of the server of a database's URL, each of whose answers is late by delay.
func Start(ctx context.Context, databaseURL string, delay time.Duration) (*Proxy, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, errors.New("not the URL of a Postgres")
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for Postgres: %w", err)
	}
	p := &Proxy{server: u.Host, delay: delay, listener: listener}
	go p.accept() //nolint:contextcheck // It lasts until it is closed.
	return p, nil
}

// Through returns the URL of a database by way of the proxy.
func (p *Proxy) Through(databaseURL string) string {
	return withHost(databaseURL, p.listener.Addr().String())
}

// Direct returns the URL of a database without it.
func (p *Proxy) Direct(databaseURL string) string { return withHost(databaseURL, p.server) }

// Trips returns how often Postgres has said, since the start, that it is ready for the next query: once for each round trip.
func (p *Proxy) Trips() int64 { return p.trips.Load() }

// Close ends all connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	return err
}

func withHost(databaseURL, host string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return databaseURL
	}
	u.Host = host
	return u.String()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.connect(client)
	}
}

func (p *Proxy) connect(client net.Conn) {
	defer client.Close()
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	p.mu.Unlock()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, client)
	}()
	p.answer(client, server)
}

// chunk is a part of what Postgres said, and when it is to be heard.
type chunk struct {
	bytes []byte
	due   time.Time
}

// answer passes on what Postgres says.
func (p *Proxy) answer(client, server net.Conn) {
	const patience = 1024
	line := make(chan chunk, patience)
	var wg sync.WaitGroup
	wg.Go(func() {
		broken := false
		for c := range line {
			time.Sleep(time.Until(c.due))
			if !broken {
				_, err := client.Write(c.bytes)
				broken = err != nil
			}
		}
	})
	defer wg.Wait()
	defer close(line)
	var count counter
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if n > 0 {
			p.trips.Add(count.add(buffer[:n]))
			line <- chunk{append([]byte{}, buffer[:n]...), time.Now().Add(p.delay)}
		}
		if err != nil {
			return
		}
	}
}

// counter finds the messages ReadyForQuery in what Postgres says, however it is cut into pieces. A message is a byte that says what it is
// and four that say how long it is, themselves included.
type counter struct {
	head []byte
	rest int
}

func (c *counter) add(bytes []byte) (ready int64) {
	const headSize = 5
	for len(bytes) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(bytes))
			c.rest -= n
			bytes = bytes[n:]
			continue
		}
		n := min(headSize-len(c.head), len(bytes))
		c.head = append(c.head, bytes[:n]...)
		bytes = bytes[n:]
		if len(c.head) == headSize {
			if c.head[0] == 'Z' {
				ready++
			}
			c.rest = int(binary.BigEndian.Uint32(c.head[1:])) - headSize + 1
			c.head = c.head[:0]
		}
	}
	return ready
}
