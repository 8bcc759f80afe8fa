package fault_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// simulator answers "it works", 201, to everything, and counts what reached it.
type simulator struct {
	*httptest.Server
	script  fault.Script
	reached atomic.Int32
}

func start(t *testing.T, faults ...fault.Fault) *simulator {
	t.Helper()
	s := &simulator{}
	require.NoError(t, s.script.Add(faults...))
	works := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.reached.Add(1)
		w.Header().Set("X-Real", "yes")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "it works")
	})
	mux := http.NewServeMux()
	mux.Handle("/_sim/faults", &s.script)
	mux.Handle("/", s.script.Wrap(works))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// answer is what a client saw of a request: err is of the request, bodyErr of reading its answer.
type answer struct {
	code         int
	header       http.Header
	body         string
	err, bodyErr error
}

// ask posts to path on a connection of its own, follows no redirect and reads at most 10,000 bytes.
func (s *simulator) ask(ctx context.Context, path string) answer {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+path, strings.NewReader(`{"a":1}`))
	if err != nil {
		return answer{err: err}
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 10_000))
	return answer{code: resp.StatusCode, header: resp.Header, body: string(body), bodyErr: err}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault   fault.Fault
		reached int32
		check   func(*testing.T, answer)
	}{
		"a scripted answer stands in for the real one": {
			fault: fault.Fault{Kind: fault.Answer, Status: 429, Header: http.Header{"retry-after": {"7"}}, Body: "slow down"},
			check: func(t *testing.T, a answer) {
				assert.Equal(t, 429, a.code)
				assert.Equal(t, "7", a.header.Get("Retry-After"))
				assert.Equal(t, "slow down", a.body)
			},
		},
		"a web page is answered 200": {
			fault: fault.HTML(),
			check: func(t *testing.T, a answer) {
				assert.Equal(t, 200, a.code)
				assert.Contains(t, a.header.Get("Content-Type"), "text/html")
			},
		},
		"a redirect names its target": {
			fault: fault.Redirect("http://example.com/"),
			check: func(t *testing.T, a answer) {
				assert.Equal(t, 307, a.code)
				assert.Equal(t, "http://example.com/", a.header.Get("Location"))
			},
		},
		"a delay ends in the real answer": {
			fault:   fault.Fault{Kind: fault.Delay, DelayMillis: 20},
			reached: 1,
			check:   func(t *testing.T, a answer) { assert.Equal(t, "it works", a.body) },
		},
		"a reset loses the request": {
			fault: fault.Fault{Kind: fault.Reset},
			check: func(t *testing.T, a answer) { assert.ErrorIs(t, a.err, syscall.ECONNRESET) },
		},
		"a reset after handling loses the answer only": {
			fault:   fault.Fault{Kind: fault.ResetAfterHandling},
			reached: 1,
			check:   func(t *testing.T, a answer) { assert.ErrorIs(t, a.err, syscall.ECONNRESET) },
		},
		"a truncated answer ends within its body": {
			fault:   fault.Fault{Kind: fault.Truncate},
			reached: 1,
			check: func(t *testing.T, a answer) {
				assert.Equal(t, 201, a.code)
				assert.Equal(t, "yes", a.header.Get("X-Real"))
				assert.Equal(t, "it w", a.body)
				assert.ErrorIs(t, a.bodyErr, io.ErrUnexpectedEOF)
			},
		},
		"an endless body gives as much as one takes": {
			fault: fault.Fault{Kind: fault.Endless, Body: "again "},
			check: func(t *testing.T, a answer) {
				assert.NoError(t, a.bodyErr)
				assert.Len(t, a.body, 10_000)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, tc.fault)
			tc.check(t, s.ask(t.Context(), "/"))
			assert.Equal(t, tc.reached, s.reached.Load(), "requests that reached the simulator")
			assert.Equal(t, "it works", s.ask(t.Context(), "/").body, "a fault happens once")
		})
	}
}

func TestFaultsThatKeepAClientWaiting(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault.Fault{
		"nothing is answered":           {Kind: fault.Hang},
		"headers and no body":           {Kind: fault.HangAfterHeaders},
		"one byte now and then":         {Kind: fault.Drip, Body: "x", DelayMillis: 5},
		"a delay that is far too long":  {Kind: fault.Delay, DelayMillis: 3_600_000},
		"an answer that is far too old": {Kind: fault.Answer, DelayMillis: 3_600_000},
	} {
		t.Run(name+", until the client leaves", func(t *testing.T) {
			t.Parallel()
			s := start(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			a := s.ask(ctx, "/")
			require.ErrorIs(t, errors.Join(a.err, a.bodyErr), context.DeadlineExceeded)
		})
		t.Run(name+", until the script is cleared", func(t *testing.T) {
			t.Parallel()
			s := start(t, f)
			done := make(chan answer)
			go func() { done <- s.ask(t.Context(), "/") }()
			require.Eventually(t, func() bool { return len(s.script.Pending()) == 0 }, time.Minute, time.Millisecond)
			s.script.Clear()
			a := <-done
			require.Error(t, errors.Join(a.err, a.bodyErr))
		})
	}
}

func TestScriptHits(t *testing.T) {
	t.Parallel()
	t.Run("only the method and path it names, as often as it says", func(t *testing.T) {
		t.Parallel()
		s := start(t,
			fault.Fault{Kind: fault.Answer, Status: 500, Method: "GET"},
			fault.Fault{Kind: fault.Answer, Status: 503, Path: "/contacts/*/tags", Times: 2},
			fault.Fault{Kind: fault.Answer, Status: 502, Match: func(r *http.Request) bool { return r.URL.Query().Get("n") == "1" }},
		)
		assert.Equal(t, 201, s.ask(t.Context(), "/contacts/1").code)
		assert.Equal(t, 503, s.ask(t.Context(), "/contacts/1/tags").code)
		assert.Equal(t, 503, s.ask(t.Context(), "/contacts/2/tags").code)
		assert.Equal(t, 201, s.ask(t.Context(), "/contacts/1/tags").code)
		assert.Equal(t, 502, s.ask(t.Context(), "/contacts/1?n=1").code)
		assert.Len(t, s.script.Pending(), 1)
	})
	t.Run("everything until it is cleared, where times is negative", func(t *testing.T) {
		t.Parallel()
		s := start(t, fault.Fault{Kind: fault.Answer, Status: 500, Times: -1})
		for range 3 {
			assert.Equal(t, 500, s.ask(t.Context(), "/").code)
		}
		s.script.Clear()
		assert.Equal(t, 201, s.ask(t.Context(), "/").code)
	})
}

func TestControlEndpoint(t *testing.T) {
	t.Parallel()
	s := start(t)
	do := func(method, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/_sim/faults", strings.NewReader(body))
		require.NoError(t, err)
		resp, err := s.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}

	_, body := do("GET", "")
	assert.JSONEq(t, "[]", body)
	code, _ := do("POST", `{"kind":"answer","status":503,"method":"POST"}`)
	assert.Equal(t, 204, code)
	code, _ = do("POST", ` [{"kind":"reset","times":3},{"kind":"hang"}]`)
	assert.Equal(t, 204, code)
	code, body = do("GET", "")
	assert.Equal(t, 200, code)
	assert.JSONEq(t, `[{"kind":"answer","status":503,"method":"POST","times":1},{"kind":"reset","times":3},{"kind":"hang","times":1}]`, body)
	assert.Equal(t, 503, s.ask(t.Context(), "/").code)
	code, _ = do("DELETE", "")
	assert.Equal(t, 204, code)
	assert.Equal(t, 201, s.ask(t.Context(), "/").code)
	code, _ = do("PUT", "")
	assert.Equal(t, 405, code)

	for name, bad := range map[string]string{
		"no JSON":             `nonsense`,
		"nothing":             ``,
		"an unknown kind":     `{"kind":"explode"}`,
		"a misspelt field":    `{"kind":"hang","tims":3}`,
		"a pattern that ends": `{"kind":"hang","path":"/["}`,
		"no final status":     `{"kind":"answer","status":100}`,
		"a negative delay":    `{"kind":"delay","delayMillis":-1}`,
		"one bad among good":  `[{"kind":"hang"},{"kind":"explode"}]`,
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			code, _ := do("POST", bad)
			assert.Equal(t, 400, code)
			assert.Empty(t, s.script.Pending())
		})
	}
}
