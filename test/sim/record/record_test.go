package record_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/test/sim/record"
)

func TestLog(t *testing.T) {
	t.Parallel()
	var log record.Log
	mux := http.NewServeMux()
	mux.Handle("/_sim/requests", &log)
	mux.Handle("/", log.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })))
	server := httptest.NewServer(mux)
	defer server.Close()
	do := func(method, path, body string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("X-Name", path)
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}

	echo, err := io.ReadAll(do("POST", "/contacts/1?a=b", "hello").Body)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(echo), "the simulator reads the body too")
	do("GET", "/contacts/2", "")
	do("POST", "/other", "")

	assert.Equal(t, 3, log.Total())
	assert.Len(t, log.Requests("", ""), 3)
	assert.Len(t, log.Requests("POST", ""), 2)
	assert.Len(t, log.Requests("", "/contacts/*"), 2)
	got := log.Requests("POST", "/contacts/*")
	require.Len(t, got, 1)
	assert.Equal(t, "hello", got[0].Body)
	assert.Equal(t, "b", got[0].Query.Get("a"))
	assert.Equal(t, "/contacts/1?a=b", got[0].Header.Get("X-Name"))

	var listed []record.Request
	require.NoError(t, json.NewDecoder(do("GET", "/_sim/requests?path=/other", "").Body).Decode(&listed))
	require.Len(t, listed, 1)
	assert.Equal(t, "/other", listed[0].Path)

	assert.Equal(t, 405, do("PUT", "/_sim/requests", "").StatusCode)
	assert.Equal(t, 204, do("DELETE", "/_sim/requests", "").StatusCode)
	assert.Zero(t, log.Total())
	assert.Empty(t, log.Requests("", ""))
}

func TestLogForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var log record.Log
	handler := log.Wrap(http.NotFoundHandler())
	for range 10_001 {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
	assert.Equal(t, 10_001, log.Total())
	assert.LessOrEqual(t, len(log.Requests("", "")), 10_000)
}
