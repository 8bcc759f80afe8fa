package destination

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter bounds the result of ParseRetryAfter: no destination needs a longer pause, and large numbers of seconds overflow
// a time.Duration.
const MaxRetryAfter = 24 * time.Hour

// ClassifyStatus returns the class of an HTTP status, and whether it is a failure. A redirect is a failure: it is not followed,
// since a POST that follows one may arrive as a GET.
func ClassifyStatus(code int) (class Class, failed bool) {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return Transient, true
	case http.StatusTooManyRequests:
		return Limited, true
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound,
		http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusProxyAuthRequired,
		http.StatusMisdirectedRequest, http.StatusUpgradeRequired, http.StatusUnavailableForLegalReasons:
		return Unavailable, true
	}
	switch {
	case code >= 500:
		return Transient, true
	case code >= 400:
		return Permanent, true
	case code >= 200 && code < 300:
		return Transient, false
	default:
		return Unavailable, true
	}
}

// FromResponse returns the Error of a response, nil if its status is a success. It neither reads nor closes the body, and the
// message does not contain it: servers often repeat the request there.
func FromResponse(destination string, resp *http.Response, now time.Time) *Error {
	class, failed := ClassifyStatus(resp.StatusCode)
	if !failed {
		return nil
	}
	message := strings.TrimSpace(fmt.Sprintf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		message += "; redirects are not followed"
	}
	return &Error{
		Destination: destination,
		Class:       class,
		Code:        resp.StatusCode,
		RetryAfter:  ParseRetryAfter(resp.Header.Get("Retry-After"), now),
		Message:     message,
	}
}

// ParseRetryAfter returns the pause that a Retry-After header requests, at most MaxRetryAfter. RFC 9110 (10.2.3) allows whole
// seconds and an HTTP date; fractions of a second are accepted, too, because some servers send them. For a date in the past or
// an invalid value, it returns 0.
func ParseRetryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	if strings.Trim(header, "0123456789.") == "" {
		// For a number too large for a float, ParseFloat returns an error and +Inf, which the bound covers.
		seconds, err := strconv.ParseFloat(header, 64)
		if err != nil && !math.IsInf(seconds, 1) {
			return 0
		}
		return time.Duration(min(seconds, MaxRetryAfter.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
