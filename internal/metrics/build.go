package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dfmiddleware/verity-sync/internal/version"
)

// RegisterBuild registers the version of this binary with reg.
func RegisterBuild(reg prometheus.Registerer) error {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace,
		Name:      "build_info",
		Help:      "1, labeled with the version of the build.",
		ConstLabels: prometheus.Labels{
			"version": version.Version, "commit": version.Commit, "date": version.Date, "goversion": runtime.Version(),
		},
	})
	build.Set(1)
	return reg.Register(build)
}
