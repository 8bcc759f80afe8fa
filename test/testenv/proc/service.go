package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Service is a program that is started, stopped and started again on the same data. Its methods are not safe for concurrent use.
type Service struct {
	// Name is what errors call it.
	Name string
	// Command returns the command to run; it is called for every start.
	Command func() *exec.Cmd
	// LogPath is where its output goes, that of the newest start only.
	LogPath string
	// Ready returns nil as soon as the service answers.
	Ready func(context.Context) error
	// OnDeath is what the service gets when this process dies.
	OnDeath syscall.Signal

	process *Process
}

// Start starts the service and waits until it is ready, for as long as ctx allows. The error has the last lines of its output.
func (s *Service) Start(ctx context.Context) error {
	if s.process != nil {
		return fmt.Errorf("start %s: it was not stopped", s.Name)
	}
	log, err := os.Create(s.LogPath)
	if err != nil {
		return fmt.Errorf("make the log of %s: %w", s.Name, err)
	}
	defer log.Close() //nolint:errcheck // the child writes through a handle of its own
	cmd := s.Command()
	cmd.Stdout, cmd.Stderr = log, log
	process, err := Start(cmd, s.OnDeath)
	if err != nil {
		return err
	}
	if err := s.waitReady(ctx, process); err != nil {
		return errors.Join(err, process.Kill())
	}
	s.process = process
	return nil
}

// Stop sends sig and waits until the service is gone. It is killed after grace, which is an error. A service that does not run is none.
func (s *Service) Stop(sig syscall.Signal, grace time.Duration) error {
	process := s.process
	if process == nil {
		return nil
	}
	s.process = nil
	if err := process.Stop(sig, grace); err != nil {
		return fmt.Errorf("stop %s: %w", s.Name, err)
	}
	return nil
}

// Kill ends the service with SIGKILL and waits until it is gone. A service that does not run is no error.
func (s *Service) Kill() error {
	process := s.process
	if process == nil {
		return nil
	}
	s.process = nil
	if err := process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", s.Name, err)
	}
	return nil
}

func (s *Service) waitReady(ctx context.Context, process *Process) error {
	for {
		notReady := s.Ready(ctx)
		if notReady == nil {
			return nil
		}
		select {
		case <-process.Done():
			return fmt.Errorf("%s ended before it was ready: %s: %s", s.Name, process.Outcome(), s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %w: %s", s.Name, notReady, s.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Service) logTail() string {
	content, err := os.ReadFile(s.LogPath)
	if err != nil {
		return err.Error()
	}
	return Tail(content)
}

// Tail returns the last lines of a program's output.
func Tail(output []byte) string {
	const most = 10
	lines := strings.Split(string(bytes.TrimSpace(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-most):], "\n")
}
