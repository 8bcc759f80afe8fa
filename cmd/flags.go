package main

import (
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

// logger makes the logger of the process and of all libraries that log. Where the flags do not say otherwise, logs are
// for people on a terminal and JSON elsewhere, and an error has no stack trace: most errors here are another system's.
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
		"serve metrics over HTTPS, to those whom the Kubernetes API server lets read them")
	fs.StringVar(&f.certPath, "metrics-cert-path", "", "directory of the metrics endpoint's certificate; self-signed without one")
	fs.StringVar(&f.certName, "metrics-cert-name", "tls.crt", "file of the metrics endpoint's certificate")
	fs.StringVar(&f.keyName, "metrics-cert-key", "tls.key", "file of the metrics endpoint's key")
	fs.BoolVar(&f.profiles, "metrics-pprof", false,
		"serve Go's profiles as well, below /debug/pprof/, to those whom the Kubernetes API server lets read that")
}

// mistakes refuses profiles that anybody could read: they show how the process works and slow it down.
func (f *metricsFlags) mistakes() error {
	if f.profiles && !f.needsKubernetes() {
		return errors.New("--metrics-pprof: expected metrics over HTTPS (--metrics-bind-address, --metrics-secure)")
	}
	return nil
}

// needsKubernetes reports whether the endpoint asks the API server who may read it.
func (f *metricsFlags) needsKubernetes() bool { return f.secure && f.bindAddress != "0" }

func (f *metricsFlags) serverOptions() metricsserver.Options {
	options := metricsserver.Options{
		BindAddress:   f.bindAddress,
		SecureServing: f.secure,
		CertDir:       f.certPath,
		CertName:      f.certName,
		KeyName:       f.keyName,
		// HTTP/2 is of no use to a scraper, and its rapid resets have been of use to attackers.
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
	}
	if f.secure {
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	if f.profiles {
		// The filter is around these, too.
		options.ExtraHandlers = map[string]http.Handler{
			"/debug/pprof/":        http.HandlerFunc(pprof.Index),
			"/debug/pprof/profile": http.HandlerFunc(pprof.Profile),
			"/debug/pprof/symbol":  http.HandlerFunc(pprof.Symbol),
			"/debug/pprof/trace":   http.HandlerFunc(pprof.Trace),
		}
	}
	return options
}

// kubernetesFlags say which namespace of which cluster the process works in.
type kubernetesFlags struct {
	namespace string
}

func (f *kubernetesFlags) bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.namespace, "namespace", "",
		"namespace of the WebhookEvents (default: $POD_NAMESPACE, else that of the service account, else \"default\")")
	// controller-runtime reads its own flag and no other.
	fs.AddGoFlag(goflag.CommandLine.Lookup(ctrlconfig.KubeconfigFlagName))
}

const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// resolveNamespace returns the first of: the flag, the environment, what the file of the service account says, "default".
func (f *kubernetesFlags) resolveNamespace(getenv func(string) string, serviceAccount string) string {
	if f.namespace != "" {
		return f.namespace
	}
	if namespace := getenv("POD_NAMESPACE"); namespace != "" {
		return namespace
	}
	if content, err := os.ReadFile(filepath.Clean(serviceAccount)); err == nil {
		if namespace := strings.TrimSpace(string(content)); namespace != "" {
			return namespace
		}
	}
	return "default"
}

// atLeast is the error of a flag that is below its minimum.
func atLeast[N int | time.Duration](flag string, value, minimum N) error {
	if value < minimum {
		return fmt.Errorf("--%s: expected at least %v, got %v", flag, minimum, value)
	}
	return nil
}

// required is the error of a flag that is empty.
func required(flag, value string) error {
	if value == "" {
		return errors.New("--" + flag + ": expected a value")
	}
	return nil
}
