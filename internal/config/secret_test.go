package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/go-logr/zapr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/internal/config"
)

func TestEveryWayToPrintASecretRedactsIt(t *testing.T) {
	t.Parallel()
	cfg := struct {
		Secret   config.Secret
		Secrets  config.Secrets
		Database config.DatabaseURL
	}{"hunter2", config.Secrets{"hunter2", "hunter3"}, databaseURL}

	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed[verb] = fmt.Sprintf(verb, cfg)
	}
	asJSON, err := json.Marshal(cfg)
	require.NoError(t, err)
	printed["json"] = string(asJSON)
	asYAML, err := yaml.Marshal(cfg)
	require.NoError(t, err)
	printed["yaml"] = string(asYAML)

	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("start", "cfg", cfg, "secret", cfg.Secret, "database", cfg.Database)
	printed["slog"] = out.String()
	out.Reset()
	zapr.NewLogger(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel))).
		Info("start", "cfg", cfg, "secret", cfg.Secret, "database", cfg.Database)
	printed["zap"] = out.String()

	for how, got := range printed {
		assert.NotContains(t, got, "hunter", how)
		assert.NotContains(t, got, fmt.Sprintf("%x", "hunter"), how)
		assert.Contains(t, got, "[redacted]", how)
		assert.Contains(t, got, "db.example.com", how)
	}
	assert.Equal(t, "hunter2", cfg.Secret.Reveal())
}

func TestADatabaseIsShownWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ url, want string }{
		"a URL":                      {databaseURL, "postgres://sync@db.example.com:5432/middleware"},
		"a password in the query":    {"postgres://db.example.com/m?user=sync&password=hunter2", "postgres://sync@db.example.com:5432/m"},
		"keywords and values":        {"host=db.example.com user=sync password=hunter2 dbname=m", "postgres://sync@db.example.com:5432/m"},
		"a URL with an invalid port": {"postgres://sync:hunter2@db.example.com:port/m", "[redacted]"},
		"a database that is not set": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tc.want, config.DatabaseURL(tc.url).String())
		})
	}
}
