package receiver_test

import (
	"cmp"
	"crypto/sha256"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

func TestWhatADeliveryStores(t *testing.T) {
	t.Parallel()
	const (
		odd       = "{ \"type\" :\"ContactUpdate\",\r\n\t\"locationId\":\"location-1\", \"id\":\"contact-1\", \"n\":1.0e2, \"u\":\"\\u0000é\" }\n"
		form      = "contact_id=contact-1&location_id=location-1"
		formJSON  = `{"contact_id":"contact-1","location_id":"location-1"}`
		byteOrder = "\xef\xbb\xbf"
	)
	contact := event.Event{
		Source: "ghl", Type: "contact.updated", EntityType: "contact", EntityID: "contact-1", LocationID: "location-1",
		ContactID: "contact-1", OrderingKey: "contact:contact-1",
	}
	for name, tc := range map[string]struct {
		header http.Header
		body   string
		// hashed is the text of the body's hash, if it is not the body.
		hashed string
		want   store.Delivery
	}{
		"a body is kept byte for byte": {
			header: secret, body: odd,
			want: store.Delivery{Event: contact, Payload: []byte(odd), Headers: map[string]string{"Content-Type": "application/json"}},
		},
		"a form becomes an object, and its bytes are kept beside it": {
			header: with(secret, "Content-Type", "application/x-www-form-urlencoded"), body: form,
			want: store.Delivery{
				Event: contact, Payload: []byte(formJSON), Raw: []byte(form),
				Headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
			},
		},
		"a byte-order mark is not part of the object, and is kept beside it": {
			header: secret, body: byteOrder + odd,
			want: store.Delivery{
				Event: contact, Payload: []byte(odd), Raw: []byte(byteOrder + odd),
				Headers: map[string]string{"Content-Type": "application/json"},
			},
		},
		"gzip is kept decoded": {
			header: with(compressed, "X-GHL-Signature", "N/A"), body: gzipped(odd), hashed: odd,
			want: store.Delivery{Event: contact, Payload: []byte(odd), Headers: map[string]string{"Content-Type": "application/json"}},
		},
		"a form in gzip is kept decoded": {
			header: with(compressed, "Content-Type", "application/x-www-form-urlencoded"), body: gzipped(form), hashed: form,
			want: store.Delivery{
				Event: contact, Payload: []byte(formJSON), Raw: []byte(form),
				Headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"},
			},
		},
		"an object in an array of one is what is read, and the array is kept beside it": {
			header: secret, body: "[ " + formJSON + " ]\n",
			want: store.Delivery{
				Event: contact, Payload: []byte(formJSON), Raw: []byte("[ " + formJSON + " ]\n"),
				Headers: map[string]string{"Content-Type": "application/json"},
			},
		},
		"an object in a string is what is read, and the string is kept beside it": {
			header: secret, body: strconv.Quote(formJSON),
			want: store.Delivery{
				Event: contact, Payload: []byte(formJSON), Raw: []byte(strconv.Quote(formJSON)),
				Headers: map[string]string{"Content-Type": "application/json"},
			},
		},
		"headers are kept if they are known to hold no secret": {
			header: http.Header{
				"Authorization": {"Bearer " + workflowSecret}, "X-Webhook-Secret": {workflowSecret}, "Cookie": {"session=1"},
				"User-Agent": {"axios/1.7"}, "X-Request-Id": {"r-1", "r-2"}, "X-Ghl-Signature": {"N/A"}, "X-Forwarded-For": {"192.0.2.1"},
				"Traceparent": {"00-1-2-01"}, "Accept": {"*/*"},
			},
			body: odd,
			want: store.Delivery{Event: contact, Payload: []byte(odd), Headers: map[string]string{
				"User-Agent": "axios/1.7", "X-Request-Id": "r-1", "X-Ghl-Signature": "N/A", "Traceparent": "00-1-2-01",
			}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			if tc.hashed == "" {
				tc.hashed = tc.body
			}
			tc.want.BodyHash = sha256.Sum256([]byte(tc.hashed))
			got := send(t, f.serve(t), requestText("POST", ghl.Path, tc.header, tc.body))
			require.Equal(t, 200, got.code, got.body)
			assert.Empty(t, gocmp.Diff([]store.Delivery{tc.want}, f.recorder.stored(), cmpopts.EquateEmpty()))
		})
	}
}

func TestATimeInTheFutureIsTheTimeOfReceipt(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	body := `{"type":"ContactUpdate","locationId":"location-1","id":"contact-1","timestamp":"2099-01-01T00:00:00Z"}`
	before := time.Now()
	require.Equal(t, 200, send(t, f.serve(t), requestText("POST", ghl.Path, secret, body)).code)
	assert.WithinRange(t, f.recorder.stored()[0].Event.OccurredAt, before, time.Now())
}

func TestTheSameDeliveryAgainIsADuplicateOfTheFirst(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	addr := f.serve(t)
	request := requestText("POST", ghl.Path, f.sign(marketplace), marketplace)

	const senders = 16
	answers := make([]response, senders)
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() { answers[i] = send(t, addr, request) })
	}
	sending.Wait()

	statuses, ids := map[string]int{}, map[string]bool{}
	for _, a := range answers {
		require.Equal(t, 200, a.code)
		id, status := a.accepted(t)
		statuses[status]++
		ids[id] = true
	}
	assert.Equal(t, map[string]int{"accepted": 1, "duplicate": senders - 1}, statuses)
	assert.Len(t, ids, 1)
	assert.Len(t, f.recorder.stored(), 1)
	assert.Equal(t, senders-1, f.counted(t, "verity_sync_webhook_duplicates_total", ""))
}

func TestAWebhookIDCountsOnlyIfASignatureCoversIt(t *testing.T) {
	t.Parallel()
	const other = `{"type":"ContactUpdate","locationId":"location-1","appId":"app-1","id":"contact-2","webhookId":"webhook-1"}`
	const field, otherField = `{"contact_id":"contact-1","location_id":"location-1","webhookId":"webhook-1"}`,
		`{"contact_id":"contact-1","location_id":"location-1","webhookId":"webhook-1","first_name":"Ann"}`
	const formType = "application/x-www-form-urlencoded"
	type delivery struct {
		body   string
		header func(*environment, string) http.Header
		want   string
	}
	bySecret := func(*environment, string) http.Header { return secret }
	byKey := func(f *environment, body string) http.Header { return f.sign(body) }
	byBoth := func(f *environment, body string) http.Header {
		return with(f.sign(body), "X-Webhook-Secret", workflowSecret)
	}
	asForm := func(*environment, string) http.Header { return with(secret, "Content-Type", formType) }
	const accepted, duplicate = "accepted", "duplicate"
	for name, deliveries := range map[string][]delivery{
		"a custom field with one value is no id":        {{field, bySecret, accepted}, {otherField, bySecret, accepted}},
		"nor in a form":                                 {{"contact_id=1&location_id=location-1&webhookId=w", asForm, accepted}, {"contact_id=2&location_id=location-1&webhookId=w", asForm, accepted}},
		"nor in the form of a marketplace body":         {{marketplace, bySecret, accepted}, {other, bySecret, accepted}},
		"GoHighLevel's retry is a duplicate":            {{marketplace, byKey, accepted}, {marketplace, byKey, duplicate}},
		"also where a secret is sent beside":            {{marketplace, byKey, accepted}, {marketplace, byBoth, duplicate}},
		"a secret cannot take GoHighLevel's id first":   {{other, bySecret, accepted}, {marketplace, byKey, accepted}},
		"nor can GoHighLevel's id hide what has secret": {{marketplace, byKey, accepted}, {other, bySecret, accepted}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			addr := f.serve(t)
			for _, d := range deliveries {
				got := send(t, addr, requestText("POST", ghl.Path, d.header(f, d.body), d.body))
				require.Equal(t, 200, got.code, got.body)
				_, status := got.accepted(t)
				assert.Equal(t, d.want, status, d.body)
			}
		})
	}
}

func TestNothingIsADuplicateIfAnyoneMaySend(t *testing.T) {
	t.Parallel()
	f := newEnvironment(t)
	allowingAnyone(f)
	addr := f.serve(t)
	for _, id := range []string{"contact-1", "contact-2"} {
		body := `{"type":"ContactUpdate","id":"` + id + `","webhookId":"webhook-1"}`
		_, status := send(t, addr, requestText("POST", ghl.Path, http.Header{}, body)).accepted(t)
		assert.Equal(t, "accepted", status)
	}
}

func TestOnlyARequestWithASecretMayDeclareAType(t *testing.T) {
	t.Parallel()
	const (
		body   = `{"ref":"a-1","who":"x"}`
		target = ghl.Path + "?type=appointment.created&id=ref"
	)
	for name, tc := range map[string]struct {
		header http.Header
		body   string
		target string
		signed bool
		code   int
		want   string
	}{
		"with a secret":                {header: secret, target: target, code: 200, want: "appointment.created"},
		"with a secret in the query":   {header: asJSON, target: target + "&token=" + workflowSecret, code: 200, want: "appointment.created"},
		"in headers":                   {header: with(with(secret, "X-Webhook-Type", "appointment.updated"), "X-Webhook-Id-Path", "ref"), code: 200, want: "appointment.updated"},
		"a path that is the contact's": {header: secret, target: ghl.Path + "?type=appointment.created&id=contact_id", code: 400},
		"signed":                       {signed: true, body: `{"ref":"a-1","appId":"app-1","locationId":"location-1"}`, target: target, code: 200, want: "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newEnvironment(t)
			sent := cmp.Or(tc.body, body)
			if tc.signed {
				tc.header = f.sign(sent)
			}
			got := send(t, f.serve(t), requestText("POST", cmp.Or(tc.target, ghl.Path), tc.header, sent))
			require.Equal(t, tc.code, got.code, got.body)
			if tc.code != 200 {
				assert.Empty(t, f.recorder.stored())
				return
			}
			require.Len(t, f.recorder.stored(), 1)
			stored := f.recorder.stored()[0]
			assert.Equal(t, tc.want, stored.Event.Type)
			if tc.want != "unknown" {
				assert.Equal(t, "a-1", stored.Event.EntityID)
				assert.Equal(t, "ref", stored.Headers["X-Webhook-Id-Path"], "for verity-sync explain")
			}
		})
	}

	t.Run("it cannot declare a configured location", func(t *testing.T) {
		t.Parallel()
		f := newEnvironment(t)
		got := send(t, f.serve(t), requestText("POST", target+"&locationId=location-1", secret, `{"ref":"a-1","locationId":"location-2"}`))
		assert.Equal(t, 200, got.code)
		assert.Empty(t, f.recorder.stored())
	})
}
