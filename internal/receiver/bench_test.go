package receiver_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// instant is a Committer that stores nothing.
type instant struct{ receipt store.Receipt }

func (i instant) Commit(context.Context, store.Delivery) (store.Receipt, error) {
	return i.receipt, nil
}

// BenchmarkWebhook is everything but the network and the store: authentication, decoding, normalisation, answer.
func BenchmarkWebhook(b *testing.B) {
	for _, size := range []int{1 << 10, 8 << 10, 256 << 10} {
		body := strings.Replace(marketplace, "{", `{"notes":"`+strings.Repeat("x", size)+`",`, 1)
		f := newEnvironment(b)
		f.config.Committer = instant{store.Receipt{ID: uuid.Must(uuid.NewV7())}}
		server, err := receiver.New(f.config)
		require.NoError(b, err)
		for name, header := range map[string]http.Header{"signature": f.sign(body), "secret": secret} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(body)))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						r := httptest.NewRequest(http.MethodPost, ghl.Path, bytes.NewReader([]byte(body)))
						r.Header = header
						w := httptest.NewRecorder()
						if server.ServeHTTP(w, r); w.Code != http.StatusOK {
							b.Errorf("answered %d", w.Code)
							return
						}
					}
				})
			})
		}
	}
}
