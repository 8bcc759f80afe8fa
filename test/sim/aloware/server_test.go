package aloware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

type bench struct {
	*aloware.Server
	url string
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{Server: aloware.New("secret")}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *bench) send(t *testing.T, method, path, body string) (code int, contentType, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(data)
}

const (
	forms  = "/api/v1/webhook/forms"
	lookup = "/api/v1/webhook/contact/phone-number"
)

func TestForms(t *testing.T) {
	t.Parallel()
	b := start(t)
	code, _, body := b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"(555) 010-0001","first_name":"Ann"}`)
	assert.Equal(t, 201, code)
	assert.NotContains(t, body, "id", "the answer does not tell the id")

	code, _, _ = b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"+15550100001","first_name":"Anna","email":"ann@example.com"}`)
	assert.Equal(t, 200, code)
	want := aloware.Contact{ID: 70001, PhoneNumber: "+15550100001", FirstName: "Ann", Email: "ann@example.com"}
	assert.Equal(t, []aloware.Contact{want}, b.Contacts(), "without force_update only what is empty is filled in")

	code, _, _ = b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"+15550100001","first_name":"Anna","force_update":true}`)
	assert.Equal(t, 200, code)
	want.FirstName = "Anna"
	assert.Equal(t, []aloware.Contact{want}, b.Contacts(), "what is not sent stays")

	b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"+15550100002"}`)
	require.Len(t, b.Contacts(), 2)
	assert.EqualValues(t, 70002, b.Contacts()[1].ID)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method, path, body string
		code               int
		contentType, want  string
	}{
		"a wrong token gets a web page and 200":     {"POST", forms, `{"api_token":"other","phone_number":"+15550100001"}`, 200, "text/html", "<form>"},
		"a look-up with a wrong token does too":     {"GET", lookup + "?api_token=other&phone_number=%2B15550100001", "", 200, "text/html", "<form>"},
		"a contact without a number":                {"POST", forms, `{"api_token":"secret"}`, 400, "application/json", "Phone number is empty or invalid."},
		"a contact with half a number":              {"POST", forms, `{"api_token":"secret","phone_number":"555"}`, 400, "application/json", "Phone number is empty or invalid."},
		"a form that is no JSON":                    {"POST", forms, `api_token=secret`, 400, "application/json", "no JSON"},
		"a look-up without a number":                {"GET", lookup + "?api_token=secret", "", 400, "application/json", "Phone number is empty or invalid."},
		"a look-up of a number that no contact has": {"GET", lookup + "?api_token=secret&phone_number=%2B15550100009", "", 404, "application/json", `{"error":"Contact not found."}`},
		"a path that it does not know":              {"GET", "/api/v1/webhook/contacts", "", 404, "text/plain", ""},
		"a look-up that posts":                      {"POST", lookup, "", 405, "text/plain", ""},
		"a look-up whose plus was not escaped":      {"GET", lookup + "?api_token=secret&phone_number=+15550100009", "", 404, "application/json", "Contact not found."},
		"a form that is a JSON string":              {"POST", forms, `"text"`, 400, "application/json", "no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			code, contentType, body := b.send(t, tc.method, tc.path, tc.body)
			assert.Equal(t, tc.code, code)
			assert.Contains(t, contentType, tc.contentType)
			assert.Contains(t, body, tc.want)
			assert.Empty(t, b.Contacts())
		})
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"+15550100001"}`)
	for _, phone := range []string{"%2B15550100001", "15550100001", "5550100001"} {
		code, _, body := b.send(t, "GET", lookup+"?api_token=secret&phone_number="+phone, "")
		assert.Equal(t, 200, code)
		assert.Contains(t, body, `"id":70001`)
	}
	b.SetToken("other")
	_, contentType, _ := b.send(t, "GET", lookup+"?api_token=secret&phone_number=%2B15550100001", "")
	assert.Contains(t, contentType, "text/html")
}

func TestLimit(t *testing.T) {
	t.Parallel()
	s := aloware.New("secret")
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	ask := func() int {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", lookup+"?api_token=secret&phone_number=5550100001", nil))
		return w.Code
	}
	for range aloware.MinuteLimit {
		require.Equal(t, 404, ask())
	}
	assert.Equal(t, 429, ask())
	now = now.Add(time.Minute)
	assert.Equal(t, 404, ask())
}

func TestControl(t *testing.T) {
	t.Parallel()
	b := start(t)
	require.NoError(t, b.Faults.Add(fault.Status(503)))
	code, _, _ := b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"+15550100001"}`)
	assert.Equal(t, 503, code)
	b.send(t, "POST", forms, `{"api_token":"secret","phone_number":"+15550100001"}`)
	_, _, body := b.send(t, "GET", "/_sim/contacts", "")
	assert.Contains(t, body, `"phone_number":"+15550100001"`)
	_, _, body = b.send(t, "GET", "/_sim/requests?path="+forms, "")
	assert.Equal(t, 2, strings.Count(body, `"method":"POST"`))
	code, _, _ = b.send(t, "DELETE", "/_sim/contacts", "")
	assert.Equal(t, 204, code)
	assert.Empty(t, b.Contacts())
	_, _, body = b.send(t, "GET", "/_sim/faults", "")
	assert.JSONEq(t, "[]", body)
}
