package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/postgres"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// account is what a system has used up to a moment.
type account struct {
	at time.Time
	// app is the time that its processes have used, database that of the Postgres of the middleware. In parts the times of its processes
	// stand one by one.
	app, database time.Duration
	parts         []time.Duration
	// wal is how many bytes Postgres has logged.
	wal float64
	// requests are those to the API server that are about WebhookEvents, by what they do. They and etcd's bytes are those of verity-sync
	// alone.
	requests                 map[string]float64
	etcdReceived, etcdLogged float64
}

// take reads the accounts of a running system.
func (e *environment) take(ctx context.Context, system *running, cluster *controlplane.ControlPlane) (a account, err error) {
	a.at = time.Now()
	for _, pid := range system.pids {
		used, err := proc.CPU(pid)
		if err != nil {
			return a, err
		}
		a.app += used
		a.parts = append(a.parts, used)
	}
	postmaster, err := postmasterOf(e.postgres)
	if err != nil {
		return a, err
	}
	if a.database, err = proc.CPU(postmaster); err != nil {
		return a, err
	}
	if a.wal, err = query[float64](ctx, system.database, "SELECT (pg_current_wal_lsn() - '0/0')::float8"); err != nil {
		return a, fmt.Errorf("read how much Postgres has logged: %w", err)
	}
	if cluster == nil || system.system == nil {
		return a, nil
	}
	if a.requests, err = apiRequests(ctx, cluster); err != nil {
		return a, err
	}
	etcd, err := etcdMetrics(ctx, cluster)
	if err != nil {
		return a, err
	}
	a.etcdReceived = etcd["etcd_network_client_grpc_received_bytes_total"]
	a.etcdLogged = etcd["etcd_disk_wal_write_bytes_total"]
	return a, nil
}

// postmasterOf is the first process of a Postgres, the parent of all others.
func postmasterOf(server *postgres.Server) (int, error) {
	content, err := os.ReadFile(filepath.Join(server.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return 0, fmt.Errorf("find the processes of Postgres: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	return strconv.Atoi(first)
}

// apiRequests reads how many requests about WebhookEvents the API server has answered: "create", "update status" and so on.
func apiRequests(ctx context.Context, cluster *controlplane.ControlPlane) (map[string]float64, error) {
	client, err := rest.HTTPClientFor(cluster.Config())
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	requests := map[string]float64{}
	err = scrape(ctx, client, cluster.Config().Host+"/metrics", func(name string, labels map[string]string, value float64) {
		if name != "apiserver_request_total" || labels["resource"] != "webhookevents" {
			return
		}
		what := strings.ToLower(labels["verb"])
		if sub := labels["subresource"]; sub != "" {
			what += " " + sub
		}
		requests[what] += value
	})
	return requests, err
}

// etcdMetrics reads etcd's metrics, whose labels do not matter here.
func etcdMetrics(ctx context.Context, cluster *controlplane.ControlPlane) (map[string]float64, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", filepath.Join(cluster.Dir(), "etcd.sock"))
	}}
	defer transport.CloseIdleConnections()
	values := map[string]float64{}
	err := scrape(ctx, &http.Client{Transport: transport}, "http://etcd/metrics", func(name string, _ map[string]string, value float64) {
		values[name] += value
	})
	return values, err
}

// scrape reads metrics in Prometheus' text format.
func scrape(ctx context.Context, client *http.Client, url string, see func(name string, labels map[string]string, value float64)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("read metrics: %s", response.Status)
	}
	return parseMetrics(response.Body, see)
}

func parseMetrics(text io.Reader, see func(name string, labels map[string]string, value float64)) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return fmt.Errorf("read the metric %q: %w", line, err)
		}
		name, rest, _ := strings.Cut(line[:at], "{")
		see(name, labelsOf(strings.TrimSuffix(rest, "}")), value)
	}
	return lines.Err()
}

// labelsOf reads a="b",c="d". The values looked for here hold no comma.
func labelsOf(text string) map[string]string {
	labels := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if name, value, found := strings.Cut(pair, "="); found {
			labels[name] = strings.Trim(value, `"`)
		}
	}
	return labels
}

// answers returns nil once a GET is answered 200.
func answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}
