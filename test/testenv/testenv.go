// Package testenv gives tests the real parts that the project runs on: Postgres, and a Kubernetes API server with its etcd. What a test
// asks for is started once a test binary, or once for all where the environment names one that runs already. Nothing is skipped where a
// part is missing: the test fails and says what to install.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
package testenv

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

var exits struct {
	sync.Mutex
	functions []func() error
}

// AtExit makes Main call f after the tests.
func AtExit(f func() error) {
	exits.Lock()
	defer exits.Unlock()
	exits.functions = append(exits.functions, f)
}

// Main runs the tests of a package, stops the servers that they started and exits. Without it, those servers are killed when the tests end.
func Main(m *testing.M) {
	code := m.Run()
	var failures []error
	for _, f := range slices.Backward(exits.functions) {
		failures = append(failures, f())
	}
	if err := errors.Join(failures...); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
