package database

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// TestAnEncryptedConnectionIsDetected uses a server that encrypts connections on request.
func TestAnEncryptedConnectionIsDetected(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	key, err := x509.MarshalPKCS8PrivateKey(certified.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	server := testenv.PostgresServer(t)
	data := filepath.Join(server.Dir(), "data")
	owner, err := os.Stat(data)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: certified.Certificate().Raw}, "server.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		path := filepath.Join(data, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
		stat := owner.Sys().(*syscall.Stat_t)
		require.NoError(t, os.Chown(path, int(stat.Uid), int(stat.Gid)))
	}
	connect := func(mode string) (*pgx.Conn, error) {
		return pgx.Connect(t.Context(), strings.Replace(server.URL(), "sslmode=disable", "sslmode="+mode, 1))
	}
	plain, err := connect("prefer")
	require.NoError(t, err)
	defer plain.Close(t.Context())
	assert.False(t, isEncrypted(plain.PgConn().Conn()))
	for _, statement := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		_, err := plain.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		encrypted, err := connect("require")
		require.NoError(c, err)
		defer encrypted.Close(t.Context())
		assert.True(c, isEncrypted(encrypted.PgConn().Conn()))
	}, time.Minute, 10*time.Millisecond)
}

func TestAnUnprotectedConnectionIsReported(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(authority, block, 0o600))

	remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 5432}
	for name, tc := range map[string]struct {
		parameters string
		address    net.Addr
		encrypted  bool
		severity   preflight.Severity
		part       string
	}{
		"unencrypted": {"sslmode=disable", remote, false, preflight.Warning, "is not encrypted"},
		"unencrypted, since the server lacks TLS": {"sslmode=prefer", remote, false, preflight.Warning, "switch on encryption in the server"},
		"unencrypted to a loopback address":       {"sslmode=disable", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, false, preflight.OK, "does not leave"},
		"unencrypted to ::1":                      {"sslmode=disable", &net.TCPAddr{IP: net.IPv6loopback}, false, preflight.OK, "does not leave"},
		"through a socket":                        {"sslmode=disable", &net.UnixAddr{Name: "/run/postgresql", Net: "unix"}, false, preflight.OK, "does not leave"},
		"encrypted by default":                    {"", remote, true, preflight.Warning, "the next one may not be"},
		"encrypted as preferred":                  {"sslmode=prefer", remote, true, preflight.Warning, "the next one may not be"},
		"encrypted as allowed":                    {"sslmode=allow", remote, true, preflight.Warning, "the next one may not be"},
		"encrypted as required":                   {"sslmode=require", remote, true, preflight.Warning, "certificate is not verified"},
		"required, with an authority":             {"sslmode=require&sslrootcert=" + authority, remote, true, preflight.OK, "certificate is verified"},
		"verified by any public authority":        {"sslmode=verify-ca", remote, true, preflight.Warning, "any certificate of a public authority is accepted"},
		"verified by its name, of any authority":  {"sslmode=verify-full", remote, true, preflight.OK, "certificate is verified"},
		"verified by its name, as advised":        {"sslmode=verify-full&sslrootcert=system", remote, true, preflight.OK, "certificate is verified"},
		"allowed, with an authority":              {"sslmode=allow&sslrootcert=" + authority, remote, true, preflight.Warning, "the next one may not be"},
		"verified by its authority":               {"sslmode=verify-ca&sslrootcert=" + authority, remote, true, preflight.OK, "certificate is verified"},
		"verified by its name":                    {"sslmode=verify-full&sslrootcert=" + authority, remote, true, preflight.OK, "certificate is verified"},
		"encrypted within the machine":            {"sslmode=prefer", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, true, preflight.OK, "does not leave"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, host := range []string{"db.example.com", "db.example.com:5432,standby.example.com:5432"} {
				cfg, err := pgconn.ParseConfig("postgres://a:b@" + host + "/m?" + tc.parameters)
				require.NoError(t, err)
				i := &inspector{Inspection: Inspection{Database: preflight.Middleware}}
				f := i.tlsOf(cfg, tc.encrypted, isLocal(tc.address))
				assert.Equal(t, tc.severity, f.Severity, f)
				assert.Contains(t, f.String(), tc.part)
			}
		})
	}
}
