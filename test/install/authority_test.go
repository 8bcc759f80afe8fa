package install

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/dfmiddleware/verity-sync/test/testenv"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
)

// TestADatabaseIsCheckedByItsOwnAuthority has processes connect with sslmode=verify-full to a Postgres whose certificate no public authority
// signed. They find the authority's where docs/install.md has it mounted.
func TestADatabaseIsCheckedByItsOwnAuthority(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	server := ownServer(t)
	volume := map[string]any{"name": "database-authority", "configMap": map[string]any{"name": "database-authority"}}
	mount := map[string]any{"name": "database-authority", "mountPath": "/etc/database-authority", "readOnly": true}
	tests := map[string]struct {
		namespace string
		render    way
	}{
		"from the chart": {newNamespace(), chart(map[string]any{"extraVolumes": []any{volume}, "extraVolumeMounts": []any{mount}})},
		"from the kustomization": {"verity-sync", func(t testing.TB, tree, _ string, variables variables) []*unstructured.Unstructured {
			t.Helper()
			return overlay(t, tree, variables, "database-authority")
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i := newInstallation(t, server, test.namespace)
			database := testenv.PostgresServer(t)
			encrypt(t, database, authority)
			i.setDatabase(t, database.URL(), "sslmode=verify-full&sslrootcert=/etc/database-authority/ca.crt")
			i.apply(t, test.render(t, file(t), test.namespace, i.variables)...)

			i.setAuthority(t, newAuthority(t))
			_, err := i.migration(t, here(t)).run(t.Context())
			require.ErrorContains(t, err, "certificate signed by unknown authority")

			i.setAuthority(t, authority)
			assert.Contains(t, i.migrate(t, here(t)), "is up to date\n")
			receiver, controller := i.pods(t, "receiver", here(t))[0], i.pods(t, "controller", here(t))[0]
			start(t, receiver, controller)
			i.eventsAreDone(t, []*pod{receiver})
			assertEncrypted(t, database)
		})
	}
}

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a database's authority"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a.certificate.Raw = a.sign(t, a.certificate, a.key)
	return a
}

func (a *authority) sign(t *testing.T, certificate *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	signed, err := x509.CreateCertificate(rand.Reader, certificate, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	return signed
}

// encrypt gives a server a certificate, with which it encrypts the connections that ask for that.
func encrypt(t *testing.T, server *postgres.Server, a *authority) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	certificate := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, key)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	data := filepath.Join(server.Dir(), "data")
	owner, err := os.Stat(data)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: certificate}, "server.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		path := filepath.Join(data, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
		stat := owner.Sys().(*syscall.Stat_t)
		require.NoError(t, os.Chown(path, int(stat.Uid), int(stat.Gid)))
	}
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	for _, statement := range []string{"ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"} {
		_, err := conn.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
}

// assertEncrypted asks the server for its connections, but for the one that asks.
func assertEncrypted(t *testing.T, server *postgres.Server) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var encrypted, plain int
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
		FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'verity-sync%'`).Scan(&encrypted, &plain))
	assert.Positive(t, encrypted)
	assert.Zero(t, plain)
}

// setDatabase has the Secret name a database, with these parameters in place of those of its URL.
func (i *installation) setDatabase(t *testing.T, database, parameters string) {
	t.Helper()
	u, err := url.Parse(database)
	require.NoError(t, err)
	u.RawQuery = parameters
	secret, err := i.client.CoreV1().Secrets(i.namespace).Get(t.Context(), "verity-sync", metav1.GetOptions{})
	require.NoError(t, err)
	secret.Data["DATABASE_URL"] = []byte(u.String())
	_, err = i.client.CoreV1().Secrets(i.namespace).Update(t.Context(), secret, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// setAuthority has the ConfigMap hold the certificate of an authority.
func (i *installation) setAuthority(t *testing.T, a *authority) {
	t.Helper()
	configMaps := i.client.CoreV1().ConfigMaps(i.namespace)
	content := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "database-authority"}, Data: map[string]string{"ca.crt": content}}
	if _, err := configMaps.Create(t.Context(), configMap, metav1.CreateOptions{}); err == nil {
		return
	}
	_, err := configMaps.Update(t.Context(), configMap, metav1.UpdateOptions{})
	require.NoError(t, err)
}
