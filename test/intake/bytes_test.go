package intake_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/sim/record"
	"github.com/dfmiddleware/verity-sync/test/sim/verity"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

func TestVerityGetsTheBytesThatWereSent(t *testing.T) {
	t.Parallel()
	for name, webhook := range webhooksOfEveryForm(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := post(t, middleware.Receivers[0], webhook)
			// What Verity makes of it is not asked: a byte-order mark, for one, is more than it understands.
			systemtest.Eventually(t, func(c *assert.CollectT) {
				forwarded := forwardsOf(answer.ID)
				require.NotEmpty(c, forwarded)
				assert.Equal(c, sum(webhook.Body), sum([]byte(forwarded[0].Body)))
				assert.Equal(c, webhook.ContentType, forwarded[0].Header.Get("Content-Type"))
			})
		})
	}
}

// webhooksOfEveryForm are all samples, all odd bodies, signed and not, and bodies that are stored in another form than they came in.
func webhooksOfEveryForm(t *testing.T) map[string]ghlsender.Webhook {
	t.Helper()
	webhooks := map[string]ghlsender.Webhook{}
	samples, err := system.Samples()
	require.NoError(t, err)
	for _, sample := range samples {
		webhooks[sample.Name] = sample.Webhook
	}
	dir, err := repo.Path("internal", "ghl", "testdata", "odd")
	require.NoError(t, err)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		body, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		webhooks[file.Name()] = ghlsender.Webhook{Body: body, ContentType: asJSON}
		webhooks[file.Name()+" after a byte-order mark, signed"] = ghlsender.Webhook{
			Body: append([]byte("\xef\xbb\xbf"), body...), ContentType: asJSON + "; charset=utf-8", Signed: true,
		}
	}
	for name, form := range map[string]string{
		"a form":                     "contact_id=con-form&customData%5Btype%5D=note&full_name=Zo%C3%AB+Example",
		"a form with repeated keys":  "contact_id=con-repeat&tags=a&tags=b&tags[]=c",
		"a form with odd separators": "&&contact_id=con-odd&&empty=&flag&",
	} {
		webhooks[name] = ghlsender.Webhook{Body: []byte(form), ContentType: asForm}
	}
	return webhooks
}

// forwardsOf returns the requests with which an event was forwarded to Verity.
func forwardsOf(id string) []record.Request {
	return slices.DeleteFunc(middleware.Verity.Requests.Requests(http.MethodPost, verity.WebhookPath), func(r record.Request) bool {
		return r.Header.Get("Idempotency-Key") != id
	})
}

func sum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
