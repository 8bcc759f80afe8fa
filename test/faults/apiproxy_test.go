package faults

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// user is the user that the processes are for the API server. It has the two roles that come with verity-sync and no other right.
const user = "verity-sync"

// apiProxy is a proxy between the processes and the API server.
type apiProxy struct {
	// Faults are what happens to requests.
	faults fault.Script
	server *httptest.Server

	mu      sync.Mutex
	watches map[int]context.CancelFunc
	number  int
}

// newAPIProxy returns a proxy to the API server of a kubeconfig.
func newAPIProxy(kubeconfig string) (*apiProxy, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("read the address of the API server: %w", err)
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(config))
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	silent := log.New(io.Discard, "", 0)
	onward := &httputil.ReverseProxy{
		Transport: transport, ErrorLog: silent, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		// A client of an API server that is down sees that its connection fails.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &apiProxy{watches: map[int]context.CancelFunc{}}
	p.server = httptest.NewUnstartedServer(p.faults.Wrap(p.watched(onward)))
	p.server.EnableHTTP2, p.server.Config.ErrorLog = true, silent
	p.server.StartTLS()
	return p, nil
}

// kubeconfig writes one that leads through the proxy.
func (p *apiProxy) kubeconfig(given, dir string) (string, error) {
	config, err := clientcmd.LoadFromFile(given)
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.CertificateAuthorityData = p.server.URL, certificate(p.server.Certificate())
	}
	for _, account := range config.AuthInfos {
		account.Impersonate = user
	}
	path := filepath.Join(dir, "kubeconfig-of-the-processes")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the kubeconfig: %w", err)
	}
	return path, nil
}

func certificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// watched keeps track of watches, so that they can be closed.
func (p *apiProxy) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if watches(r) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			defer p.keep(cancel)()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

func (p *apiProxy) keep(cancel context.CancelFunc) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	number := p.number
	p.watches[number] = cancel
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, number)
	}
}

// closeWatches ends all open watches, and returns how many.
func (p *apiProxy) closeWatches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.watches {
		cancel()
	}
	return len(p.watches)
}

func watches(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// Matches of requests to the API server.
var (
	notAWatch    = func(r *http.Request) bool { return !watches(r) }
	statusWrites = func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/status")
	}
)
