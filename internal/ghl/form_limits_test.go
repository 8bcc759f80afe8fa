package ghl_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// mebibyte is the largest body that the receiver reads.
const mebibyte = 1 << 20

// TestDecodeBoundsWhatAFormAllocates measures what decoding allocates, garbage included, for the most expensive bodies.
func TestDecodeBoundsWhatAFormAllocates(t *testing.T) {
	const limit = 16 * mebibyte
	fill := func(pair func(i int) string) string {
		var text strings.Builder
		for i := 0; text.Len() < mebibyte-64; i++ {
			text.WriteString(pair(i))
		}
		return text.String()
	}
	for name, test := range map[string]struct {
		body     string
		tooLarge bool
	}{
		"each pair nests sixteen new objects":        {fill(func(i int) string { return fmt.Sprintf("%d%s=&", i, strings.Repeat("[]", 15)+"[a]") }), true},
		"each pair nests two new objects":            {fill(func(i int) string { return fmt.Sprintf("%d[a][b]=&", i) }), true},
		"each pair has its own key":                  {fill(func(i int) string { return fmt.Sprintf("%d&", i) }), true},
		"each pair adds to one array":                {fill(func(int) string { return "a[]&" }), true},
		"each pair repeats one key":                  {fill(func(int) string { return "a&" }), true},
		"one key of brackets":                        {"a" + strings.Repeat("[]", mebibyte/2-1), false},
		"one key that nests too deep":                {"a[b" + strings.Repeat("][", mebibyte/2-2) + "c]", false},
		"a value of escaped control bytes":           {"a=" + strings.Repeat("%01", mebibyte/3-1), true},
		"a value of raw control bytes":               {"a=" + strings.Repeat("\x01", mebibyte-2), true},
		"a value of line separators":                 {"a=" + strings.Repeat("\u2028", mebibyte/3-1), false},
		"a value of quotes":                          {"a=" + strings.Repeat(`"`, mebibyte-2), true},
		"keys of brackets that collide with a value": {"a=1&" + fill(func(i int) string { return fmt.Sprintf("a[%d][b]&", i) })[:mebibyte-64], true},
		"plain keys that collide with an object":     {"a[b]=1&" + fill(func(int) string { return "a&" })[:mebibyte-64], true},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			allocated := allocatedBy(func() { _, err = ghl.Decode(formType, []byte(test.body)) })
			assert.LessOrEqual(t, allocated, uint64(limit), "bytes allocated for %d bytes of form", len(test.body))
			if test.tooLarge {
				require.ErrorIs(t, err, ghl.ErrFormTooLarge)
				return
			}
			require.NoError(t, err)
		})
	}
}

// TestDecodeBoundsWhatJSONAllocates does the same for JSON, normalisation included.
func TestDecodeBoundsWhatJSONAllocates(t *testing.T) {
	const limit = 20 * mebibyte // Most of it garbage: each key with an escape is unquoted for itself.
	for name, body := range map[string]string{
		"arrays to the deepest level":     `{"a":` + nested(ghl.MaxDepth-1) + `}`,
		"a million brackets":              `{"a":[` + strings.Repeat("[],", mebibyte/3-10) + `1]}`,
		"objects as members that count":   `{` + strings.Repeat(`"customData":{},`, mebibyte/16-10) + `"a":1}`,
		"keys of escapes":                 `{` + strings.Repeat(`"\u0061":1,`, mebibyte/11-10) + `"a":1}`,
		"a type of escapes":               `{"type":"` + strings.Repeat(`\u0061`, mebibyte/6-10) + `"}`,
		"a webhookId of control bytes":    `{"webhookId":"` + strings.Repeat(`\u0001`, mebibyte/6-10) + `"}`,
		"a block within each other block": strings.Repeat(`{"customData":{"appointment":`, 300) + "1" + strings.Repeat("}}", 300),
		"a number of a million digits":    `{"id":` + strings.Repeat("1", mebibyte-20) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			allocated := allocatedBy(func() {
				var b ghl.Body
				if b, err = ghl.Decode(jsonType, []byte(body)); err == nil {
					ghl.Normalise(b, received)
				}
			})
			require.NoError(t, err)
			assert.LessOrEqual(t, allocated, uint64(limit+len(body)), "bytes allocated for %d bytes of JSON", len(body))
		})
	}
}

// TestDecodeReadsTheLargestFormsOfWorkflows checks that the limits are above the forms of real accounts.
func TestDecodeReadsTheLargestFormsOfWorkflows(t *testing.T) {
	t.Parallel()
	var form strings.Builder
	form.WriteString("customData[type]=appointment.created")
	for i := range 2_000 {
		fmt.Fprintf(&form, "&Custom+field+%d=value&items[%d][name]=n", i, i%400)
	}
	body, err := ghl.Decode(formType, []byte(form.String()))
	require.NoError(t, err)
	assert.Equal(t, "appointment.created", ghl.Normalise(body, received).Type)
}

// allocatedBy returns the bytes that f allocates. Other goroutines must not allocate at the same time, so its tests are not parallel.
func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
