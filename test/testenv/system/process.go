package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
)

// stopGrace is how long a process may take to end after SIGTERM. It is longer than those that drain take.
const stopGrace = 40 * time.Second

// A Process is a receiver or a controller. Its methods are not safe for concurrent use.
type Process struct {
	// Name tells it from the others: receiver-0.
	Name string
	// URL is where it listens: a receiver for everything, a controller for its probes. MetricsURL is that of its metrics. Both stay the
	// same when it is started again. ProbeURL is where it listens for probes alone.
	URL, MetricsURL, ProbeURL string
	// Env is its environment and Flags its flags, of which the last one counts where one is given twice. A change counts from the next
	// start on.
	Env   map[string]string
	Flags []string
	// Binary is the verity-sync that it runs, from the next start on.
	Binary string

	// probe is the path that answers once the process has started. It is liveness for a controller, which is not ready as long as it cannot
	// watch WebhookEvents: a test may have taken that away.
	probe string

	command      string
	address, dir string
	logs         []string
	cmd          *exec.Cmd
	service      proc.Service
}

func (s *System) newReceiver(ctx context.Context, number int, env map[string]string) (*Process, error) {
	p, err := s.newProcess(ctx, "receiver", number, env)
	if err != nil {
		return nil, err
	}
	probes, err := s.freeAddress(ctx)
	if err != nil {
		return nil, fmt.Errorf("find a port for the probes of %s: %w", p.Name, err)
	}
	p.probe = "/readyz"
	p.ProbeURL = "http://" + probes
	p.Flags = append(p.Flags,
		"--listen-address="+p.address, "--health-probe-bind-address="+probes, "--drain-delay=100ms", "--drain-timeout=1s")
	return p, nil
}

func (s *System) newController(ctx context.Context, number int, env map[string]string) (*Process, error) {
	p, err := s.newProcess(ctx, "controller", number, env)
	if err != nil {
		return nil, err
	}
	p.probe = "/healthz"
	p.ProbeURL = p.URL
	p.Flags = append(p.Flags, "--health-probe-bind-address="+p.address)
	if s.options.Controllers > 1 {
		p.Flags = append(p.Flags, "--leader-elect")
	}
	return p, nil
}

func (s *System) newProcess(ctx context.Context, command string, number int, env map[string]string) (*Process, error) {
	address, addressErr := s.freeAddress(ctx)
	metrics, metricsErr := s.freeAddress(ctx)
	if err := errors.Join(addressErr, metricsErr); err != nil {
		return nil, fmt.Errorf("find ports for a %s: %w", command, err)
	}
	p := &Process{
		Name:       fmt.Sprintf("%s-%d", command, number),
		URL:        "http://" + address,
		MetricsURL: "http://" + metrics + "/metrics",
		Env:        maps.Clone(env),
		Flags:      []string{"--namespace=" + s.Namespace, "--metrics-bind-address=" + metrics, "--metrics-secure=false"},
		address:    address,
		Binary:     s.Binary, command: command, dir: s.Dir,
	}
	p.service = proc.Service{Name: p.Name, Command: p.newCommand, Ready: p.ready, OnDeath: syscall.SIGKILL}
	return p, nil
}

// Start starts the process, or starts it again after Stop or Kill, and waits until a receiver is ready or a controller alive, for as long
// as ctx allows.
func (p *Process) Start(ctx context.Context) error {
	p.service.LogPath = filepath.Join(p.dir, fmt.Sprintf("%s.%d.log", p.Name, len(p.logs)))
	p.logs = append(p.logs, p.service.LogPath)
	return p.service.Start(ctx)
}

// Stop asks the process to end and waits until it has.
func (p *Process) Stop() error { return p.service.Stop(syscall.SIGTERM, stopGrace) }

// Kill ends the process with SIGKILL, paused or not.
func (p *Process) Kill() error { return p.service.Kill() }

// Restart kills the process and starts it again.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Kill(); err != nil {
		return err
	}
	return p.Start(ctx)
}

// Pause freezes the process, which keeps its connections, until Continue.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Continue ends a Pause.
func (p *Process) Continue() error { return p.signal(syscall.SIGCONT) }

// Running reports whether the process is there: it may have ended by itself.
func (p *Process) Running() bool {
	return p.cmd != nil && p.cmd.Process.Signal(syscall.Signal(0)) == nil
}

// WebhookURL is where a receiver takes webhooks in.
func (p *Process) WebhookURL() string { return p.URL + "/api/webhooks/ghl" }

// PID is the id of the process, which differs after each start.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log returns what the process has printed, in all its starts.
func (p *Process) Log() (string, error) {
	var text strings.Builder
	for _, path := range p.logs {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the log of %s: %w", p.Name, err)
		}
		text.Write(content)
	}
	return text.String(), nil
}

func (p *Process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %s to %s: %w", sig, p.Name, err)
	}
	return nil
}

func (p *Process) newCommand() *exec.Cmd {
	p.cmd = exec.Command(p.Binary, append([]string{p.command}, p.Flags...)...) //nolint:noctx // it runs until it is stopped
	p.cmd.Dir = p.dir
	p.cmd.Env = environ(p.Env)
	return p.cmd
}

func (p *Process) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+p.probe, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", request.URL, response.Status)
	}
	return nil
}

// races returns the first report of the race detector that is in a log.
func (s *System) races() error {
	for _, p := range s.processes() {
		log, err := p.Log()
		if err != nil {
			return err
		}
		if at := strings.Index(log, "WARNING: DATA RACE"); at >= 0 {
			const most = 4 << 10
			return fmt.Errorf("%s: %s", p.Name, log[at:min(len(log), at+most)])
		}
	}
	return nil
}

func environ(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
