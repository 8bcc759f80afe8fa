//go:build race

package system

var (
	buildFlags = []string{"-race"}
	buildEnv   []string
)
