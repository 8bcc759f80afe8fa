// Package version says which build of verity-sync this is.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// What the release build sets with -ldflags "-X <package>.Version=v1.2.3 …". Elsewhere Commit and Date are what the Go
// tool recorded, where it did.
var (
	// Version is the release, "dev" where this is none.
	Version = "dev"
	// Commit is the revision that was built.
	Commit = ""
	// Date is that revision's time, in RFC 3339.
	Date = ""
)

func init() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && Commit == "":
			Commit = setting.Value
		case setting.Key == "vcs.time" && Date == "":
			Date = setting.Value
		}
	}
}

// String returns all of it in one line: "v1.2.3 (commit 0123abc, 2026-11-23T12:00:00Z, go1.26.8)".
func String() string {
	return fmt.Sprintf("%s (commit %s, %s, %s)", Version, orUnknown(Commit), orUnknown(Date), runtime.Version())
}

// Product returns what follows the name in the User-Agent of requests: "v1.2.3 (commit 0123abc; 2026-11-23T12:00:00Z)".
func Product() string {
	return fmt.Sprintf("%s (commit %s; %s)", Version, orUnknown(Commit), orUnknown(Date))
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
