package ghl_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

func BenchmarkDecodeNormalise(b *testing.B) {
	large := []byte(`{"type":"ContactUpdate","id":"c","customFields":[`)
	for i := 0; len(large) < 1<<20-200; i++ {
		large = fmt.Appendf(large, `{"id":"field-%d","value":"Some text, as people \"type\" it"},`, i)
	}
	large = append(large, `{}],"webhookId":"w"}`...)
	bodies := map[string][]byte{"1 MiB": large}
	samples := readBodies(b, "samples")
	for _, sample := range []string{
		"marketplace-appointmentupdate-composed", "workflow-appointment-real-2026-09", "marketplace-contactupdate-official",
	} {
		var compact bytes.Buffer
		require.NoError(b, json.Compact(&compact, []byte(samples[sample])))
		bodies[sample] = compact.Bytes()
	}
	for name, raw := range bodies {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				body, err := ghl.Decode(jsonType, raw)
				if err != nil {
					b.Fatal(err)
				}
				ghl.Normalise(body, received)
			}
		})
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	private, public := key(b)
	raw := bytes.Repeat([]byte("x"), 1024)
	v := verifier(b, ghl.AuthConfig{PublicKeys: []string{public}, Secrets: []string{"first secret", "second secret"}})
	secret := http.Header{}
	secret.Set(ghl.HeaderSecret, "second secret")
	for name, header := range map[string]http.Header{"signature": signed(private, string(raw)), "secret": secret} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Authenticate(header, nil, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
