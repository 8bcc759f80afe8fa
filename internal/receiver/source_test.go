package receiver_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/receiver"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

const doorbellPath = "/hooks/doorbell"

// doorbell is a second source, which has nothing in common with GoHighLevel: a password in its own header, and a body of text,
// "<door> <person>".
type doorbell struct{ path string }

func (doorbell) Name() string   { return "doorbell" }
func (d doorbell) Path() string { return cmp.Or(d.path, doorbellPath) }

func (doorbell) Authenticate(r event.Request) (event.Sender, error) {
	switch r.Header.Get("X-Bell") {
	case "brass":
		return ringer{r}, nil
	case "broken":
		return nil, errors.New("the list of passwords is empty")
	default:
		return nil, event.Refuse(event.Unauthenticated, errors.New("no bell rings like that"))
	}
}

type ringer struct{ event.Request }

func (ringer) Proof() string { return "bell" }

func (r ringer) Decode(text []byte, receivedAt time.Time) (event.Webhook, error) {
	door, person, ok := strings.Cut(string(text), " ")
	switch {
	case door == "smoke":
		return event.Webhook{Headers: map[string]string{"X-Ring": "?"}}, event.Refuse(event.Unparseable, errors.New("smoke, not words"))
	case !ok:
		return event.Webhook{}, event.Refuse(event.Malformed, errors.New("expected a door and a person"))
	case len(text) > 1000:
		return event.Webhook{}, event.Refuse(event.TooLarge, errors.New("the name is too long"))
	}
	payload, err := json.Marshal(map[string]string{"door": door, "person": person})
	if err != nil {
		return event.Webhook{}, err
	}
	w := event.Webhook{
		Event: event.Event{
			Source: "doorbell", Type: "door.rung", EntityType: "door", EntityID: door, OccurredAt: receivedAt.Truncate(time.Hour),
			DedupeKey: r.Header.Get("X-Ring-Id"), OrderingKey: event.OrderingKeyOf("door", door),
		},
		Payload: payload, Raw: text, Occurrence: true, Headers: map[string]string{"X-Ring": r.RawQuery},
	}
	switch door {
	case "neighbour":
		return w, event.Refuse(event.Forbidden, errors.New("not a door of this building"))
	case "garden":
		return w, event.Refuse(event.Ignored, errors.New("a gate"))
	}
	return w, nil
}

// withDoorbell adds the second source beside GoHighLevel.
func withDoorbell(f *environment) { f.config.Sources = append(f.config.Sources, doorbell{}) }

var rings = http.Header{"Content-Type": {"text/plain"}, "X-Bell": {"brass"}, "X-Forwarded-For": {"192.0.2.1"}}

func TestASecondSourceIsServedByTheSameServer(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]exchange{
		"a webhook is stored": {body: "front Ada", code: 200, answer: accepted, stored: 1},
		"a compressed body is decompressed before the source decodes it": {
			header: with(rings, "Content-Encoding", "gzip"), body: gzipped("front Ada"), code: 200, answer: accepted, stored: 1,
		},
		"a query and a slash at the end of the path change nothing": {
			target: doorbellPath + "/?twice", body: "front Ada", code: 200, answer: accepted, stored: 1,
		},
		"an unauthenticated request is answered 401, with the source's reason": {
			header: asJSON, body: "front Ada", code: 401, answer: `{"error":"no bell rings like that"}`,
		},
		"a secret of another source is no proof":    {header: secret, body: "front Ada", code: 401, answer: `{"error":"no bell rings like that"}`},
		"a malformed body is answered 400":          {body: "front", code: 400, answer: `{"error":"expected a door and a person"}`},
		"a forbidden request is answered 403":       {body: "neighbour Ada", code: 403, answer: `{"error":"not a door of this building"}`},
		"a body that decodes to too much: 413":      {body: "front " + strings.Repeat("a", 1000), code: 413, answer: `{"error":"the name is too long"}`},
		"a body above the receiver's own limit":     {body: padded(1<<20 + 1), code: 413, answer: tooLarge},
		"an ignored request is answered 200":        {body: "garden Ada", code: 200, answer: ignored, counts: "verity_sync_webhook_ignored_total"},
		"an unparseable body is stored as received": {body: "smoke", code: 200, answer: unparseable, stored: 1},
		"an error that is no refusal is not the sender's fault": {
			header: http.Header{"X-Bell": {"broken"}}, body: "front Ada", code: 429, answer: notNow,
		},
		"a body in an unknown content encoding is answered 415": {
			header: with(rings, "Content-Encoding", "br"), body: "front Ada", code: 415,
			answer: `{"error":"content encoding \"br\" is not supported: send the body uncompressed or as gzip"}`,
		},
		"another method is answered 405":      {method: "PUT", body: "front Ada", code: 405, answer: notAllowed},
		"its path is served as it is spelled": {target: "/hooks//doorbell", body: "front Ada", code: 404, answer: notFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			withDoorbell(f)
			if x.header == nil {
				x.header = rings
			}
			got := send(t, f.serve(t), requestText(cmp.Or(x.method, http.MethodPost), cmp.Or(x.target, doorbellPath), x.header, x.body))
			assert.Equal(t, x.code, got.code)
			assert.Equal(t, x.answer, anonymous(got.body))
			assert.Len(t, f.recorder.stored(), x.stored)
			if x.counts != "" {
				assert.Equal(t, 1, f.counted(t, x.counts, ""))
			}
			if x.code != http.StatusNotFound {
				assert.Equal(t, 1, f.countedOf(t, "doorbell", strconv.Itoa(x.code)))
			}
		})
	}
}

func TestTheEventIsWhatItsSourceDecodes(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	withDoorbell(f)
	addr := f.serve(t)
	first := with(rings, "X-Ring-Id", "doorbell:1")
	for range 2 {
		require.Equal(t, 200, send(t, addr, requestText("POST", doorbellPath+"?long", first, "front Ada")).code)
	}
	require.Equal(t, 200, send(t, addr, requestText("POST", doorbellPath, rings, "smoke")).code)
	require.Equal(t, 200, send(t, addr, requestText("POST", ghl.Path, secret, workflow)).code)

	stored := f.recorder.stored()
	require.Len(t, stored, 3, "the second delivery is a duplicate by the source's key")
	hash := sha256.Sum256([]byte("smoke"))
	assert.Empty(t, gocmp.Diff([]store.Delivery{
		{
			Event: event.Event{
				Source: "doorbell", Type: "door.rung", EntityType: "door", EntityID: "front", OccurredAt: stored[0].Event.OccurredAt,
				DedupeKey: "doorbell:1", OrderingKey: "door:front",
			},
			Payload: []byte(`{"door":"front","person":"Ada"}`), Raw: []byte("front Ada"), Occurrence: true,
			Headers:  map[string]string{"Content-Type": "text/plain", "X-Ring": "long"},
			BodyHash: sha256.Sum256([]byte("front Ada")),
		},
		{
			Event: event.Event{
				Source: "doorbell", Type: "unparseable", EntityType: "unknown",
				DedupeKey: "doorbell:unparseable:" + hex.EncodeToString(hash[:]),
			},
			Payload: []byte("{}"), Raw: []byte("smoke"), Headers: map[string]string{"Content-Type": "text/plain", "X-Ring": "?"}, BodyHash: hash,
		},
	}, stored[:2], cmpopts.EquateEmpty()))
	assert.Equal(t, "ghl", stored[2].Event.Source)
	assert.Equal(t, 1, f.countedOf(t, "ghl", "200"))
	assert.Equal(t, 3, f.countedOf(t, "doorbell", "200"))
}

func TestTheLogNamesTheProofOfAnySource(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	withDoorbell(f)
	lines := f.capture()
	require.Equal(t, 403, send(t, f.serve(t), requestText("POST", doorbellPath, rings, "neighbour Ada")).code)
	require.Eventually(t, func() bool { return len(lines.with("outcome")) == 1 }, eventually, tick)
	for _, want := range []string{`"proof":"bell"`, `"type":"door.rung"`, `"entity":"neighbour"`, `"outcome":"forbidden"`} {
		assert.Len(t, lines.with(want), 1, want)
	}
	assert.Empty(t, lines.with("Ada"))
}

func TestAPathIsServedForOneSource(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"another source's": ghl.Path, "the jobs endpoint's": receiver.JobsPath, "a probe's": receiver.ReadyPath, "the root": "/",
		"one that ends in a slash": "/hooks/", "one that is relative": "hooks",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			f.config.Sources = append(f.config.Sources, doorbell{path})
			_, err := receiver.New(f.config)
			require.ErrorContains(t, err, "the path of doorbell")
			require.ErrorContains(t, err, strconv.Quote(path))
		})
	}
	f := newEnvironment(t)
	f.config.Sources = nil
	_, err := receiver.New(f.config)
	require.ErrorContains(t, err, "sources, committer and metrics are required")
}

// TestTheReceiverKnowsNoSource reads the package's own files: what is particular to a source is in the source's package.
func TestTheReceiverKnowsNoSource(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	read := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		read++
		for _, particular := range []string{`internal/ghl"`, `internal/source"`, "SourceGHL", `"ghl`, "ghl/", "X-GHL"} {
			assert.False(t, bytes.Contains(text, []byte(particular)), "%s has %s", file, particular)
		}
	}
	assert.Greater(t, read, 5)
}
