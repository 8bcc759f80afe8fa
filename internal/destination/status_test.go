package destination_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/destination"
)

func TestClassifyStatus(t *testing.T) {
	t.Parallel()
	tests := map[destination.Class][]int{
		destination.Transient: {408, 425, 500, 501, 502, 503, 504, 507, 520, 529, 599, 999},
		destination.Limited:   {429},
		destination.Permanent: {400, 409, 410, 411, 412, 413, 414, 415, 418, 422, 423, 431, 499},
		destination.Unavailable: {
			100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 399, 401, 402, 403, 404, 405, 406, 407, 421, 426, 451,
		},
	}
	for class, codes := range tests {
		for _, code := range codes {
			got, failed := destination.ClassifyStatus(code)
			assert.True(t, failed, "%d is a failure", code)
			assert.Equal(t, class, got, "class of %d", code)
		}
	}
	for code := 200; code < 300; code++ {
		_, failed := destination.ClassifyStatus(code)
		assert.False(t, failed, "%d is a success", code)
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 1, 8, 49, 37, 0, time.UTC)
	tests := map[string]struct {
		header string
		want   time.Duration
	}{
		"an absent header":                               {"", 0},
		"seconds":                                        {"120", 2 * time.Minute},
		"seconds with spaces around them":                {" 7\t", 7 * time.Second},
		"zero":                                           {"0", 0},
		"leading zeros":                                  {"0030", 30 * time.Second},
		"a fraction of a second":                         {"1.5", 1500 * time.Millisecond},
		"a fraction without a leading digit":             {".25", 250 * time.Millisecond},
		"negative seconds are invalid":                   {"-5", 0},
		"a week is limited to the maximum":               {"604800", destination.MaxRetryAfter},
		"seconds that overflow a duration":               {"9223372036854775808", destination.MaxRetryAfter},
		"seconds that overflow a float":                  {"1" + strings.Repeat("0", 400), destination.MaxRetryAfter},
		"a date in the preferred form":                   {"Sun, 01 Nov 2026 08:50:37 GMT", time.Minute},
		"a date in the form of RFC 850":                  {"Sunday, 01-Nov-26 08:50:37 GMT", time.Minute},
		"a date in the form of asctime":                  {"Sun Nov  1 08:50:37 2026", time.Minute},
		"the current date":                               {"Sun, 01 Nov 2026 08:49:37 GMT", 0},
		"a date that has passed":                         {"Sun, 01 Nov 2026 08:49:36 GMT", 0},
		"a date years ago":                               {"Fri, 31 Dec 1999 23:59:59 GMT", 0},
		"a date in years is limited to the maximum":      {"Fri, 31 Dec 9999 23:59:59 GMT", destination.MaxRetryAfter},
		"a date in another format is invalid":            {"2026-11-01T08:50:37Z", 0},
		"a word is invalid":                              {"soon", 0},
		"a unit is invalid":                              {"30s", 0},
		"a second decimal point is invalid":              {"1.2.3", 0},
		"a decimal point alone is invalid":               {".", 0},
		"an exponent is invalid":                         {"1e3", 0},
		"infinity is invalid":                            {"Inf", 0},
		"not a number is invalid":                        {"NaN", 0},
		"a list, as from two joined headers, is invalid": {"5, 10", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, destination.ParseRetryAfter(tt.header, now))
		})
	}
}

func TestFromResponse(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 1, 8, 0, 0, 0, time.UTC)

	t.Run("a success is no error", func(t *testing.T) {
		t.Parallel()
		for _, code := range []int{200, 201, 202, 204, 206} {
			assert.Nil(t, destination.FromResponse("aloware", &http.Response{StatusCode: code}, now))
		}
	})
	t.Run("a 429 has the pause that the server requested", func(t *testing.T) {
		t.Parallel()
		resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"17"}}}
		err := destination.FromResponse("aloware", resp, now)
		require.NotNil(t, err)
		assert.Equal(t, destination.Limited, destination.ClassOf(err))
		assert.Equal(t, 17*time.Second, destination.RetryAfterOf(err))
		assert.Equal(t, 429, err.Code)
		assert.Equal(t, "aloware: answered 429 Too Many Requests", err.Error())
	})
	t.Run("a 503 can have a pause, too", func(t *testing.T) {
		t.Parallel()
		header := http.Header{"Retry-After": {"Sun, 01 Nov 2026 08:01:00 GMT"}}
		resp := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: header}
		err := destination.FromResponse("aloware", resp, now)
		assert.Equal(t, destination.Transient, destination.ClassOf(err))
		assert.Equal(t, time.Minute, destination.RetryAfterOf(err))
	})
	t.Run("the message does not contain the server's text", func(t *testing.T) {
		t.Parallel()
		resp := &http.Response{StatusCode: http.StatusUnprocessableEntity, Status: "422 ada@example.com is taken"}
		assert.Equal(t, "aloware: answered 422 Unprocessable Entity", destination.FromResponse("aloware", resp, now).Error())
	})
	t.Run("the message of a status without a name has its number", func(t *testing.T) {
		t.Parallel()
		resp := &http.Response{StatusCode: 599}
		assert.Equal(t, "aloware: answered 599", destination.FromResponse("aloware", resp, now).Error())
	})
	t.Run("the message of a redirect does not contain its target", func(t *testing.T) {
		t.Parallel()
		header := http.Header{"Location": {"https://example.com/?token=s3cret"}}
		resp := &http.Response{StatusCode: http.StatusPermanentRedirect, Header: header}
		err := destination.FromResponse("aloware", resp, now)
		assert.Equal(t, destination.Unavailable, destination.ClassOf(err))
		assert.Equal(t, "aloware: answered 308 Permanent Redirect; redirects are not followed", err.Error())
	})
}
