package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	goflag "flag"
	"fmt"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// logFlags are controller-runtime's --zap-* flags.
type logFlags struct {
	options zap.Options
}

func (f *logFlags) bind(fs *pflag.FlagSet) {
	var goFlags goflag.FlagSet
	f.options.BindFlags(&goFlags)
	fs.AddGoFlagSet(&goFlags)
}

// logger returns the logger of the process, and sets it for all libraries that log. Unless the flags say otherwise, logs are
// text on a terminal and JSON elsewhere, and errors have no stack trace: most of them come from another system.
func (f *logFlags) logger() logr.Logger {
	if !f.options.Development {
		if f.options.NewEncoder == nil && term.IsTerminal(int(os.Stderr.Fd())) {
			zap.ConsoleEncoder()(&f.options)
		}
		if f.options.StacktraceLevel == nil {
			f.options.StacktraceLevel = zapcore.PanicLevel
		}
	}
	log := zap.New(zap.UseFlagOptions(&f.options))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	return log
}

// metricsFlags are kubebuilder's flags for the metrics endpoint.
type metricsFlags struct {
	bindAddress                 string
	secure                      bool
	certPath, certName, keyName string
	profiles                    bool
}

func (f *metricsFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.bindAddress, "metrics-bind-address", "0",
		"address of the metrics endpoint: :8443 for HTTPS, :8080 for HTTP, 0 for none")
	fs.BoolVar(&f.secure, "metrics-secure", true,
		"serve metrics over HTTPS, to clients that the Kubernetes API server authorizes")
	fs.StringVar(&f.certPath, "metrics-cert-path", "",
		"directory with the certificate of the metrics endpoint (default: a self-signed certificate)")
	fs.StringVar(&f.certName, "metrics-cert-name", "tls.crt", "file name of the certificate of the metrics endpoint")
	fs.StringVar(&f.keyName, "metrics-cert-key", "tls.key", "file name of the key of the metrics endpoint")
	fs.BoolVar(&f.profiles, "metrics-pprof", false,
		"also serve Go's profiles below /debug/pprof/, to clients that the Kubernetes API server authorizes")
}

// validate rejects profiles without authorization: they show how the process works and slow it down.
func (f *metricsFlags) validate() error {
	if f.profiles && !f.needsKubernetes() {
		return errors.New("--metrics-pprof: expected metrics over HTTPS (--metrics-bind-address, --metrics-secure)")
	}
	return nil
}

// needsKubernetes reports whether the API server authorizes the clients of the endpoint.
func (f *metricsFlags) needsKubernetes() bool { return f.secure && f.bindAddress != "0" }

func (f *metricsFlags) serverOptions() metricsserver.Options {
	options := metricsserver.Options{
		BindAddress:   f.bindAddress,
		SecureServing: f.secure,
		CertDir:       f.certPath,
		CertName:      f.certName,
		KeyName:       f.keyName,
		// Scrapers do not need HTTP/2, whose rapid resets were used in attacks.
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
	}
	if f.secure {
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	if f.profiles {
		// The filter applies to these handlers, too.
		options.ExtraHandlers = map[string]http.Handler{
			"/debug/pprof/":        http.HandlerFunc(pprof.Index),
			"/debug/pprof/profile": http.HandlerFunc(pprof.Profile),
			"/debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
			"/debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
		}
	}
	return options
}

// kubernetesFlags select the cluster and the namespace.
type kubernetesFlags struct {
	namespace string
}

func (f *kubernetesFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.namespace, "namespace", "",
		"namespace of the WebhookEvents (default: $POD_NAMESPACE, else the namespace of the service account, else \"default\")")
	// controller-runtime reads only its own flag.
	fs.AddGoFlag(goflag.CommandLine.Lookup(ctrlconfig.KubeconfigFlagName))
}

const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// resolveNamespace returns the first of: the flag, $POD_NAMESPACE, the namespace in the file of the service account, "default".
func (f *kubernetesFlags) resolveNamespace(getenv func(string) string, serviceAccount string) string {
	content, _ := os.ReadFile(filepath.Clean(serviceAccount)) // There is none outside a cluster.
	return cmp.Or(f.namespace, getenv("POD_NAMESPACE"), strings.TrimSpace(string(content)), "default")
}

// atLeast returns the error of a flag below its minimum.
func atLeast[N int | time.Duration](flag string, value, minimum N) error {
	if value < minimum {
		return fmt.Errorf("--%s: expected at least %v, got %v", flag, minimum, value)
	}
	return nil
}

// required returns the error of an empty flag.
func required(flag, value string) error {
	if value == "" {
		return errors.New("--" + flag + ": expected a value")
	}
	return nil
}
