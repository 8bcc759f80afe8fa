package ghlapi

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

func FuzzRefusal(f *testing.F) {
	f.Add(404, `{"statusCode":404,"message":"Contact not found"}`, "contact", "", "")
	f.Add(422, `{"message":["a","b"],"error":"x"}`, "", "9", "0")
	f.Add(429, `null`, "contact", "Mon, 02 Nov 2026 09:00:00 GMT", "10000")
	f.Add(401, `{"message":{"a":1}}`, "contact", "-1", "")
	f.Fuzz(func(t *testing.T, code int, body, entity, retryAfter, interval string) {
		resp := &http.Response{StatusCode: code, Header: http.Header{
			"Retry-After": {retryAfter}, "X-Ratelimit-Interval-Milliseconds": {interval},
		}}
		e := refusal("loc1", entity, resp, []byte(body), time.Unix(0, 0))
		if code >= 200 && code < 300 {
			require.Nil(t, e)
			return
		}
		require.NotNil(t, e)
		assert.NotEmpty(t, e.Message)
		assert.GreaterOrEqual(t, e.RetryAfter, time.Duration(0))
		assert.LessOrEqual(t, e.RetryAfter, destination.MaxRetryAfter)
		if errors.Is(e, ErrNotFound) {
			assert.NotEmpty(t, entity)
			assert.Equal(t, destination.Permanent, e.Class)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("application/json", `{"contact":{"id":"a","tags":["b"],"dateUpdated":"2026-11-02T09:00:00Z"}}`)
	f.Add("application/json; charset=utf-8", `{"contact":null}`)
	f.Add("text/html", `<html>`)
	f.Add("application/json", `{"contact":{"id":1,"dateUpdated":{}}}`)
	f.Fuzz(func(t *testing.T, contentType, body string) {
		var contact struct{ Contact *Contact }
		var appointment *Appointment
		for _, out := range []any{&contact, &appointment} {
			if err := decode("loc1", contentType, []byte(body), out); err != nil {
				var e *destination.Error
				require.ErrorAs(t, err, &e)
				assert.Less(t, len(e.Error()), 200)
			}
		}
	})
}
