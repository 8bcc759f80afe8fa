package ghlapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
)

const (
	contacts  = "2021-07-28"
	calendars = "2021-04-15"
)

// bench is a simulator that knows two locations, with a contact and an appointment in the first.
type bench struct {
	*ghlapi.Server
	url string
	now time.Time
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{Server: ghlapi.New(), now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)}
	b.Now = func() time.Time { return b.now }
	b.PutLocation(ghlapi.Location{ID: "loc1", Token: "token1"})
	b.PutLocation(ghlapi.Location{ID: "loc2", Token: "token2"})
	b.PutContact(ghlapi.Contact{
		ID: "con1", LocationID: "loc1", FirstName: "Ann", Email: "Ann@Example.com", Phone: "+15550100001", Tags: []string{"new"}, SSN: "000-00-0000",
	})
	b.PutAppointment(ghlapi.Appointment{ID: "app1", LocationID: "loc1", ContactID: "con1", AppointmentStatus: "confirmed"})
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// request is one to the simulator; the zero values of token and version are the right ones for contacts.
type request struct{ method, path, token, version, body string }

func (b *bench) send(t *testing.T, r request) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, b.url+r.path, strings.NewReader(r.body))
	require.NoError(t, err)
	for header, value := range map[string]struct{ given, usual, prefix string }{
		"Authorization": {r.token, "token1", "Bearer "},
		"Version":       {r.version, contacts, ""},
	} {
		switch value.given {
		case "":
			req.Header.Set(header, value.prefix+value.usual)
		case "none":
		default:
			req.Header.Set(header, value.prefix+value.given)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(body)
}

func TestADuplicateIsSearchedByWhatTellsContactsApart(t *testing.T) {
	t.Parallel()
	b := start(t)
	l, _ := b.Location("loc1")
	l.UniqueBy = "email"
	b.PutLocation(l)
	search := func(query string) string {
		_, _, answer := b.send(t, request{method: "GET", path: "/contacts/search/duplicate?locationId=loc1&" + query})
		return answer
	}
	assert.Contains(t, search("number=%2B15550100001"), `{"contact":null}`)
	assert.Contains(t, search("number=%2B15550100001&email=ann%40example.com"), `"id":"con1"`)
	l.UniqueBy = "phone"
	b.PutLocation(l)
	assert.Contains(t, search("number=%2B15550100001"), `"id":"con1"`)
	assert.Contains(t, search("email=ann%40example.com"), `{"contact":null}`)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	search := func(body string) request { return request{method: "POST", path: "/contacts/search", body: body} }
	const duplicate = "/contacts/search/duplicate"
	for name, tc := range map[string]struct {
		request
		code int
		want string
	}{
		"a contact, with all that it holds": {
			request{method: "GET", path: "/contacts/con1"}, 200, `"ssn":"000-00-0000"`,
		},
		"a contact's e-mail in lower case":       {request{method: "GET", path: "/contacts/con1"}, 200, `"emailLowerCase":"ann@example.com"`},
		"an unknown contact":                     {request{method: "GET", path: "/contacts/con9"}, 404, `"message":"Contact not found"`},
		"no token":                               {request{method: "GET", path: "/contacts/con1", token: "none"}, 401, `access token is invalid`},
		"an unknown token":                       {request{method: "GET", path: "/contacts/con1", token: "token9"}, 401, `access token is invalid`},
		"another location's token":               {request{method: "GET", path: "/contacts/con1", token: "token2"}, 403, `"The token does not have access to this location."`},
		"no version":                             {request{method: "GET", path: "/contacts/con1", version: "none"}, 401, `"version header was not found."`},
		"the calendars' version for contacts":    {request{method: "GET", path: "/contacts/con1", version: calendars}, 401, `"version header is invalid"`},
		"another path":                           {request{method: "GET", path: "/contact/con1"}, 404, `"Cannot GET /contact/con1"`},
		"an appointment, under event":            {request{method: "GET", path: "/calendars/events/appointments/app1", version: calendars}, 200, `{"event":{"id":"app1"`},
		"the contacts' version for calendars":    {request{method: "GET", path: "/calendars/events/appointments/app1"}, 401, `"version header is invalid"`},
		"an unknown appointment":                 {request{method: "GET", path: "/calendars/events/appointments/app9", version: calendars}, 404, `"Appointment not found"`},
		"another location's appointment":         {request{method: "GET", path: "/calendars/events/appointments/app1", version: calendars, token: "token2"}, 403, `does not have access`},
		"a duplicate by number":                  {request{method: "GET", path: duplicate + "?locationId=loc1&number=%2B15550100001"}, 200, `"id":"con1"`},
		"a duplicate by e-mail in another case":  {request{method: "GET", path: duplicate + "?locationId=loc1&email=ANN%40example.com"}, 200, `"id":"con1"`},
		"no duplicate":                           {request{method: "GET", path: duplicate + "?locationId=loc1&email=bob%40example.com"}, 200, `{"contact":null}`},
		"no duplicate among another's contacts":  {request{method: "GET", path: duplicate + "?locationId=loc2&email=ann%40example.com", token: "token2"}, 200, `{"contact":null}`},
		"a duplicate in another location":        {request{method: "GET", path: duplicate + "?locationId=loc2&number=%2B15550100001"}, 403, `does not have access`},
		"a number whose plus was not escaped":    {request{method: "GET", path: duplicate + "?locationId=loc1&number=+15550100001"}, 422, `["number must be a valid phone number"]`},
		"phone in place of number":               {request{method: "GET", path: duplicate + "?locationId=loc1&phone=%2B15550100001"}, 422, `"property phone should not exist"`},
		"a duplicate of nothing":                 {request{method: "GET", path: duplicate + "?locationId=loc1"}, 422, `"number or email should not be empty"`},
		"a duplicate nowhere":                    {request{method: "GET", path: duplicate + "?email=ann%40example.com"}, 422, `"locationId must be a string"`},
		"a search":                               {search(`{"locationId":"loc1","pageLimit":20,"filters":[{"field":"phone","operator":"eq","value":"+15550100001"}]}`), 200, `"total":1`},
		"a search of two conditions":             {search(`{"locationId":"loc1","pageLimit":20,"filters":[{"field":"email","operator":"contains","value":"ann"},{"field":"phone","operator":"not_exists"}]}`), 200, `"total":0`},
		"a search of alternatives":               {search(`{"locationId":"loc1","pageLimit":20,"filters":[{"group":"OR","filters":[{"field":"email","operator":"eq","value":"x"},{"field":"phone","operator":"exists"}]}]}`), 200, `"total":1`},
		"a page after the last":                  {search(`{"locationId":"loc1","pageLimit":20,"page":2}`), 200, `{"contacts":[],"total":1}`},
		"a search without a limit":               {search(`{"locationId":"loc1"}`), 422, `"pageLimit must not be less than 1"`},
		"a search with too high a limit":         {search(`{"locationId":"loc1","pageLimit":501}`), 422, `"pageLimit must not be greater than 500"`},
		"a search nowhere":                       {search(`{"pageLimit":20}`), 422, `"locationId must be a string"`},
		"a search of another location":           {search(`{"locationId":"loc2","pageLimit":20}`), 403, `does not have access`},
		"a search by an unknown field":           {search(`{"locationId":"loc1","pageLimit":20,"filters":[{"field":"number","operator":"eq","value":"1"}]}`), 422, `"Invalid field number"`},
		"a search by an unknown operator":        {search(`{"locationId":"loc1","pageLimit":20,"filters":[{"field":"email","operator":"is","value":"1"}]}`), 422, `"Invalid operator is"`},
		"a search for too long a value":          {search(`{"locationId":"loc1","pageLimit":20,"filters":[{"field":"email","operator":"eq","value":"` + strings.Repeat("x", 76) + `"}]}`), 422, `"Invalid value for field email"`},
		"a search that is no JSON":               {search(`locationId=loc1`), 400, `"Invalid request body"`},
		"tags, merged and in lower case":         {request{method: "POST", path: "/contacts/con1/tags", body: `{"tags":["VIP","New"]}`}, 201, `{"tags":["new","vip"]}`},
		"tags of an unknown contact":             {request{method: "POST", path: "/contacts/con9/tags", body: `{"tags":["vip"]}`}, 404, `"Contact not found"`},
		"tags that are none":                     {request{method: "POST", path: "/contacts/con1/tags", body: `{"tags":[]}`}, 422, `"tags should not be empty"`},
		"tags that are a string":                 {request{method: "POST", path: "/contacts/con1/tags", body: `{"tags":"vip"}`}, 422, `"tags must be an array"`},
		"tags of another location's contact":     {request{method: "POST", path: "/contacts/con1/tags", token: "token2", body: `{"tags":["vip"]}`}, 403, `does not have access`},
		"an error names its status in the body":  {request{method: "GET", path: "/contacts/con9"}, 404, `"statusCode":404`},
		"a broken rule is a list in the message": {request{method: "POST", path: "/contacts/con1/tags", body: `{}`}, 422, `"message":["tags should not be empty"]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, header, body := start(t).send(t, tc.request)
			assert.Equal(t, tc.code, code)
			assert.Contains(t, body, tc.want)
			assert.Contains(t, header.Get("Content-Type"), "application/json")
		})
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	b := start(t)
	get := func(token string) int {
		code, _, _ := b.send(t, request{method: "GET", path: "/contacts/con1", token: token})
		return code
	}
	b.PutLocation(ghlapi.Location{ID: "loc1", Token: "token1", TokenExpires: b.now.Add(time.Hour)})
	assert.Equal(t, 200, get("token1"))
	b.now = b.now.Add(time.Hour)
	assert.Equal(t, 401, get("token1"), "it has expired")
	b.PutLocation(ghlapi.Location{ID: "loc1", Token: "rotated"})
	assert.Equal(t, 401, get("token1"))
	assert.Equal(t, 200, get("rotated"))
	b.DeleteLocation("loc1")
	assert.Equal(t, 401, get("rotated"))
}

func TestLimits(t *testing.T) {
	t.Parallel()
	get := func(t *testing.T, b *bench) (int, http.Header) {
		code, header, _ := b.send(t, request{method: "GET", path: "/contacts/con1"})
		return code, header
	}
	t.Run("the eleventh second has room for what the first spent", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		for i := range ghlapi.BurstLimit {
			code, header := get(t, b)
			require.Equal(t, 200, code, "request %d", i)
			if i == 0 {
				assert.Equal(t, "100", header.Get("X-RateLimit-Max"))
				assert.Equal(t, "99", header.Get("X-RateLimit-Remaining"))
				assert.Equal(t, "10000", header.Get("X-RateLimit-Interval-Milliseconds"))
				assert.Equal(t, "200000", header.Get("X-RateLimit-Limit-Daily"))
				assert.Equal(t, "199999", header.Get("X-RateLimit-Daily-Remaining"))
			}
		}
		b.now = b.now.Add(ghlapi.BurstWindow - time.Millisecond)
		code, header := get(t, b)
		assert.Equal(t, 429, code)
		assert.Equal(t, "0", header.Get("X-RateLimit-Remaining"))
		b.now = b.now.Add(time.Millisecond)
		code, _ = get(t, b)
		assert.Equal(t, 200, code)
	})
	t.Run("the day's budget ends", func(t *testing.T) {
		t.Parallel()
		b := start(t)
		b.PutLocation(ghlapi.Location{ID: "loc1", Token: "token1", DailySpent: ghlapi.DailyLimit - 1})
		code, header := get(t, b)
		assert.Equal(t, 200, code)
		assert.Equal(t, "0", header.Get("X-RateLimit-Daily-Remaining"))
		code, _ = get(t, b)
		assert.Equal(t, 429, code)
	})
}

func TestTagsAreReported(t *testing.T) {
	t.Parallel()
	b := start(t)
	var reported []ghlapi.Contact
	b.OnTags = func(c ghlapi.Contact) {
		_, known := b.Contact(c.ID) // the callback may ask the simulator
		assert.True(t, known)
		reported = append(reported, c)
	}
	before, _ := b.Contact("con1")
	b.now = b.now.Add(time.Minute)
	for range 2 {
		code, _, _ := b.send(t, request{method: "POST", path: "/contacts/con1/tags", body: `{"tags":["vip"]}`})
		assert.Equal(t, 201, code)
	}
	require.Len(t, reported, 1, "tags that were there already change nothing")
	assert.Equal(t, []string{"new", "vip"}, reported[0].Tags)
	assert.True(t, reported[0].DateUpdated.After(before.DateUpdated))
	assert.Equal(t, []string{"new"}, before.Tags)
}

func TestSearchLags(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.SearchLag = time.Second
	total := func(email string) int {
		body, err := json.Marshal(map[string]any{
			"locationId": "loc1", "pageLimit": 1, "filters": []map[string]string{{"field": "email", "operator": "eq", "value": email}},
		})
		require.NoError(t, err)
		_, _, answer := b.send(t, request{method: "POST", path: "/contacts/search", body: string(body)})
		var found struct{ Total int }
		require.NoError(t, json.Unmarshal([]byte(answer), &found))
		return found.Total
	}
	b.PutContact(ghlapi.Contact{ID: "con2", LocationID: "loc1", Email: "bob@example.com"})
	b.PutContact(ghlapi.Contact{ID: "con1", LocationID: "loc1", Email: "ann.new@example.com"})
	assert.Zero(t, total("bob@example.com"))
	assert.Equal(t, 1, total("ann@example.com"))
	assert.Zero(t, total("ann.new@example.com"))
	b.now = b.now.Add(time.Second)
	assert.Equal(t, 1, total("bob@example.com"))
	assert.Zero(t, total("ann@example.com"))
	assert.Equal(t, 1, total("ann.new@example.com"))
}

func TestControl(t *testing.T) {
	t.Parallel()
	b := start(t)
	control := func(method, path string, body any) (int, string) {
		data, err := json.Marshal(body)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, bytes.NewReader(data))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}
	for path, entity := range map[string]map[string]any{
		"/_sim/locations/x":    {"token": "token9"},
		"/_sim/contacts/x":     {"locationId": "loc1", "email": "x@example.com"},
		"/_sim/appointments/x": {"locationId": "loc1", "contactId": "con1"},
	} {
		code, _ := control("PUT", path, entity)
		assert.Equal(t, 204, code)
		code, body := control("GET", path, nil)
		assert.Equal(t, 200, code)
		assert.Contains(t, body, `"id":"x"`)
		code, _ = control("DELETE", path, nil)
		assert.Equal(t, 204, code)
		code, _ = control("GET", path, nil)
		assert.Equal(t, 404, code)
		code, _ = control("PUT", path, map[string]any{"misspelt": 1})
		assert.Equal(t, 400, code)
	}

	code, _ := control("POST", "/_sim/faults", fault.Status(503))
	assert.Equal(t, 204, code)
	code, _, _ = b.send(t, request{method: "GET", path: "/contacts/con1"})
	assert.Equal(t, 503, code)
	_, body := control("GET", "/_sim/requests", nil)
	assert.Contains(t, body, "/contacts/con1")
	assert.NotContains(t, body, "/_sim/", "control requests are no requests to the API")
}
