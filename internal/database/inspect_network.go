package database

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

func (i *inspector) tls() preflight.Finding {
	socket := i.conn.Conn().PgConn().Conn()
	return i.tlsOf(&i.pool.config.Config, isEncrypted(socket), isLocal(socket.RemoteAddr()))
}

func isEncrypted(socket net.Conn) bool {
	_, encrypted := socket.(*tls.Conn)
	return encrypted
}

// isLocal reports whether an address is on this machine.
func isLocal(address net.Addr) bool {
	if ip, ok := address.(*net.TCPAddr); ok {
		return ip.IP.IsLoopback()
	}
	return address.Network() == "unix"
}

// tlsOf checks how a connection is protected, and how the next one could be.
func (i *inspector) tlsOf(cfg *pgconn.Config, encrypted, local bool) preflight.Finding {
	ways := []*tls.Config{cfg.TLSConfig}
	for _, f := range cfg.Fallbacks {
		ways = append(ways, f.TLSConfig)
	}
	trusting := func(c *tls.Config) bool { return c.InsecureSkipVerify && c.VerifyPeerCertificate == nil }
	// Without the server's name, pgx verifies the authority alone. Anyone can have a certificate of a public authority.
	nameless := func(c *tls.Config) bool { return c.InsecureSkipVerify && c.RootCAs == nil }
	const action = "use sslmode=verify-full in the URL, and sslrootcert if you have your own certificate authority"
	switch {
	case local:
		return i.ok(checkTLS, "the connection does not leave this machine")
	case !encrypted:
		return i.problem(preflight.Warning, checkTLS, "the connection is not encrypted: an attacker on the network can read and change "+
			i.or("payloads", "contacts and leads"), "switch on encryption in the server (ssl = on), and "+action)
	case slices.Contains(ways, nil):
		return i.problem(preflight.Warning, checkTLS, "the connection is encrypted, but the next one may not be: with sslmode=prefer, "+
			"which is the default, or allow, an attacker on the network can prevent the encryption", action)
	case slices.ContainsFunc(ways, trusting):
		return i.problem(preflight.Warning, checkTLS, "the connection is encrypted, but the server's certificate is not verified "+
			"(sslmode=require): an attacker on the network can pose as the server", action)
	case slices.ContainsFunc(ways, nameless):
		return i.problem(preflight.Warning, checkTLS, "the connection is encrypted, but any certificate of a public authority is "+
			"accepted, since the server's name is not compared (sslmode=verify-ca without your own authority in sslrootcert): an "+
			"attacker on the network can pose as the server", action)
	default:
		return i.ok(checkTLS, "the connection is encrypted, and the server's certificate is verified")
	}
}

// connections compares the connections that the role can have with those that the processes may use.
func (i *inspector) connections() preflight.Finding {
	number := func(name string) int {
		n, _ := strconv.Atoi(i.settings[name].Value) // 0 in releases that lack the setting.
		return n
	}
	available := number("max_connections")
	limit := fmt.Sprintf("max_connections is %d", available)
	if !i.facts.superuser {
		if reserved := number("superuser_reserved_connections") + number("reserved_connections"); reserved > 0 {
			available -= reserved
			limit += fmt.Sprintf(", of which %d are reserved", reserved)
		}
		for _, l := range []struct {
			of  string
			max int
		}{{"role " + i.facts.role, i.facts.roleLimit}, {"database " + i.facts.database, i.facts.databaseLimit}} {
			if l.max >= 0 && l.max < available {
				available, limit = l.max, fmt.Sprintf("the %s is limited to %d connections", l.of, l.max)
			}
		}
	}
	var wanted int
	var parts []string
	for _, c := range i.Clients {
		wanted += c.Replicas * c.Conns
		parts = append(parts, fmt.Sprintf("%d %ss with %d each", c.Replicas, c.Kind, c.Conns))
	}
	demand := fmt.Sprintf("%s use %d at most", strings.Join(parts, " and "), wanted)
	switch {
	case i.path.Pooler:
		return i.ok(checkConnections,
			"%s; the pooler must accept these (max_client_conn), and shares at most %d connections of Postgres among them: %s",
			demand, available, limit)
	case wanted > available:
		const refused = "%s, and %s: connections beyond that are refused (SQLSTATE 53300), and %s"
		until := i.or("webhooks are answered 429 meanwhile", "leads are written later")
		return i.problem(preflight.Warning, checkConnections, fmt.Sprintf(refused, limit, demand, until),
			"raise the limit, or lower pool_max_conns in the URL or the number of replicas")
	default:
		return i.ok(checkConnections, "%s, and %s: %d more remain for further replicas; %d are open now",
			limit, demand, available-wanted, i.facts.others)
	}
}
