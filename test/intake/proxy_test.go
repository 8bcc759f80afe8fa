package intake_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// cutter stands between a receiver and Postgres, and on demand cuts a connection once Postgres has committed and before the receiver is
// told.
type cutter struct {
	// url is that of the database, through the cutter.
	url string

	server string
	// next is where the next connection is cut; nil is nowhere.
	next atomic.Pointer[cut]
}

// cut says where a connection is cut.
type cut struct {
	// command begins the tag of the command that commits.
	command string
	// keepsTag passes on that the command is complete, which Postgres says before it commits a statement that is not in a transaction.
	keepsTag bool
}

func newCutter(t *testing.T, databaseURL string) *cutter {
	t.Helper()
	through, err := url.Parse(databaseURL)
	require.NoError(t, err)
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	c := &cutter{server: through.Host}
	through.Host = listener.Addr().String()
	c.url = through.String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go c.connect(client)
		}
	}()
	return c
}

func (c *cutter) connect(client net.Conn) {
	defer client.Close()
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, client)
	}()
	c.answer(client, server)
}

// answer passes on what Postgres says, up to the cut.
func (c *cutter) answer(client io.Writer, server io.Reader) {
	messages := pgproto3.NewFrontend(server, io.Discard)
	var here *cut
	for {
		message, err := messages.Receive()
		if err != nil {
			return
		}
		drop := false
		switch said := message.(type) {
		case *pgproto3.CommandComplete:
			if next := c.next.Load(); next != nil && strings.HasPrefix(string(said.CommandTag), next.command) && c.next.CompareAndSwap(next, nil) {
				here, drop = next, !next.keepsTag
			}
		case *pgproto3.ReadyForQuery:
			if here != nil {
				return
			}
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
	}
}
