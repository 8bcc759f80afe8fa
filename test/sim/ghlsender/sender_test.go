package ghlsender_test

import (
	"context"
	"crypto/ed25519"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

// endpoint answers with the statuses it is given, then with 200, and keeps what it got.
type endpoint struct {
	url string

	mu       sync.Mutex
	statuses []int
	headers  []http.Header
	bodies   [][]byte
}

func newEndpoint(t *testing.T, statuses ...int) *endpoint {
	t.Helper()
	e := &endpoint{statuses: statuses}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.headers, e.bodies = append(e.headers, r.Header), append(e.bodies, body)
	status := http.StatusOK
	if n := len(e.bodies); n <= len(e.statuses) {
		status = e.statuses[n-1]
	}
	w.Header().Set("Location", e.url+"/elsewhere")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"status":"x"}`)
}

func TestWhatIsSentIsReadAsMeant(t *testing.T) {
	t.Parallel()
	s := ghlsender.New(nil)
	at := time.Now().Add(-time.Hour)
	contact := ghlsender.Contact{
		ID: "con", FirstName: "Zoë", LastName: "Example", Email: "zoe@example.com", Phone: "+12025550142", Tags: []string{"a", "b"},
	}
	appointment := ghlsender.Appointment{ID: "apt", CalendarID: "cal", ContactID: "con", Status: "confirmed", Start: at, UpdatedAt: at}
	opportunity := ghlsender.Opportunity{ID: "opp", ContactID: "con", Name: "Roof", PipelineID: "p", StageID: "s", Status: "open"}

	for name, test := range map[string]struct {
		webhook ghlsender.Webhook
		want    event.Event
	}{
		"an appointment is booked": {
			s.Appointment(ghlsender.Create, appointment),
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "apt", AppointmentStatus: "confirmed"},
		},
		"an appointment is deleted": {
			s.Appointment(ghlsender.Delete, appointment),
			event.Event{Type: "appointment.deleted", EntityType: "appointment", EntityID: "apt", AppointmentStatus: "confirmed"},
		},
		"a contact changes": {
			s.Contact(ghlsender.Update, contact), event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "con"},
		},
		"an opportunity is new": {
			s.Opportunity(ghlsender.Create, opportunity),
			event.Event{Type: "opportunity.created", EntityType: "opportunity", EntityID: "opp"},
		},
		"a workflow sends a booking": {
			s.WorkflowAppointment(appointment, contact),
			event.Event{Type: "appointment.created", EntityType: "appointment", EntityID: "apt", AppointmentStatus: "confirmed"},
		},
		"a workflow sends a contact": {
			s.WorkflowContact(contact, map[string]string{"source": "x"}),
			event.Event{Type: "contact.updated", EntityType: "contact", EntityID: "con"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(test.webhook.ContentType, test.webhook.Body)
			require.NoError(t, err)
			got := ghl.Normalise(body, time.Now())
			test.want.Source, test.want.ContactID, test.want.LocationID = "ghl", "con", s.LocationID
			test.want.OrderingKey = event.OrderingKeyOf(test.want.EntityType, test.want.EntityID)
			assert.Empty(t, cmp.Diff(test.want, got, cmpopts.IgnoreFields(event.Event{}, "DedupeKey", "OccurredAt")))
			assert.Equal(t, test.webhook.Signed, got.DedupeKey != "", "what is signed has a webhookId")
			assert.Equal(t, test.webhook.Signed, !got.OccurredAt.IsZero(), "what is signed has a timestamp")
			if test.webhook.Signed {
				assert.Equal(t, s.AppID, body.AppID())
			}
		})
	}
}

func TestEveryMarketplaceWebhookHasAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	s := ghlsender.New(nil)
	one, two := s.Marketplace("NoteCreate", nil), s.Marketplace("NoteCreate", nil)
	assert.NotEqual(t, one.Body, two.Body)
}

func TestMarketplacePostsAreSigned(t *testing.T) {
	t.Parallel()
	s := ghlsender.New(nil)
	s.Secret = "not for these"
	e := newEndpoint(t)
	answer, err := s.Send(t.Context(), e.url, s.Contact(ghlsender.Create, ghlsender.Contact{ID: "c", FirstName: "Zoë 🎉"}))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, 1, answer.Attempts)
	assert.JSONEq(t, `{"status":"x"}`, string(answer.Body))

	verifier, err := ghl.NewVerifier(ghl.AuthConfig{PublicKeys: []string{s.PublicKey()}})
	require.NoError(t, err)
	proof, err := verifier.Authenticate(e.headers[0], nil, e.bodies[0])
	require.NoError(t, err)
	assert.Equal(t, ghl.ProofOwnKey, proof)
	assert.Empty(t, e.headers[0].Get(ghl.HeaderSecret))
}

func TestWorkflowPostsCarryTheSecret(t *testing.T) {
	t.Parallel()
	s := ghlsender.New(nil)
	s.Secret = "a secret"
	e := newEndpoint(t)
	webhook := s.WorkflowContact(ghlsender.Contact{ID: "c"}, nil)
	webhook.Header = http.Header{"x-ghl-signature": {"N/A"}}
	_, err := s.Send(t.Context(), e.url, webhook)
	require.NoError(t, err)
	assert.Equal(t, "a secret", e.headers[0].Get(ghl.HeaderSecret))
	assert.Equal(t, "N/A", e.headers[0].Get(ghl.HeaderSignature))
}

func TestTheSameKeyIsTheSameSender(t *testing.T) {
	t.Parallel()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	one, two := ghlsender.New(key), ghlsender.New(key)
	assert.Equal(t, one.PublicKey(), two.PublicKey())
	assert.Equal(t, one.Sign([]byte("x")), two.Sign([]byte("x")))
	assert.NotEqual(t, one.PublicKey(), ghlsender.New(nil).PublicKey())
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		retries  int
		all      bool
		statuses []int
		status   int
		attempts int
	}{
		"none by default":                {0, true, []int{429}, 429, 1},
		"429 until it is taken":          {6, false, []int{429, 429}, 200, 3},
		"429 until they are used up":     {2, false, []int{429, 429, 429, 429}, 429, 3},
		"a failure of ours is final":     {6, false, []int{500}, 500, 1},
		"a redirect is final":            {6, false, []int{302}, 302, 1},
		"all failures, as of mid-2026":   {6, true, []int{500, 302, 401, 429}, 200, 5},
		"a success is a success as well": {6, true, []int{201}, 201, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ghlsender.New(nil)
			s.Retries, s.RetryAll = test.retries, test.all
			e := newEndpoint(t, test.statuses...)
			answer, err := s.Send(t.Context(), e.url, s.Marketplace("NoteCreate", nil))
			require.NoError(t, err)
			assert.Equal(t, test.status, answer.Status)
			assert.Equal(t, test.attempts, answer.Attempts)
			require.Len(t, e.bodies, test.attempts)
			for i := range e.bodies {
				assert.Equal(t, e.bodies[0], e.bodies[i], "a repetition is the same, byte for byte")
				assert.Equal(t, e.headers[0].Get(ghl.HeaderSignature), e.headers[i].Get(ghl.HeaderSignature))
			}
		})
	}
}

func TestASendWithoutAListenerFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s := ghlsender.New(nil)
	s.Retries = 2
	answer, err := s.Send(t.Context(), server.URL, s.Marketplace("NoteCreate", nil))
	require.Error(t, err)
	assert.Equal(t, 1, answer.Attempts, "only the newer guide repeats then")

	s.RetryAll = true
	answer, err = s.Send(t.Context(), server.URL, s.Marketplace("NoteCreate", nil))
	require.Error(t, err)
	assert.Equal(t, 3, answer.Attempts)
}

func TestWaitingForARetryEndsWithTheContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTooManyRequests)
		go cancel()
	}))
	t.Cleanup(server.Close)
	s := ghlsender.New(nil)
	s.Retries, s.RetryDelay = 1, time.Hour
	_, err := s.Send(ctx, server.URL, s.Marketplace("NoteCreate", nil))
	require.ErrorIs(t, err, context.Canceled)
}
