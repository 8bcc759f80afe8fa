package event_test

import (
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ in, want string }{
		"an id":                           {"ocQHyuzHvysMo5N5VsXc", "ocQHyuzHvysMo5N5VsXc"},
		"letters of other scripts":        {"Zoë 日本 שלום", "Zoë 日本 שלום"},
		"a right-to-left override":        {"a\u202eb", "ab"},
		"isolates":                        {"\u2066a\u2067b\u2068c\u2069", "abc"},
		"marks of direction":              {"a\u200e\u200f\u061cb", "ab"},
		"zero-width characters":           {"a\u200b\u200c\u200d\u2060\ufeffb", "ab"},
		"a soft hyphen":                   {"a\u00adb", "ab"},
		"variation selectors":             {"a\ufe0f\U000e0100b", "ab"},
		"tags":                            {"a\U000e0001\U000e0041b", "ab"},
		"fillers":                         {"a\u3164\u115f\uffa0\u034fb", "ab"},
		"separators of lines":             {"a\u2028b\u2029c", "a b c"},
		"line breaks and tabs":            {"a\r\nb\tc\vd\fe\u0085f", "a  b c d e f"},
		"blanks of other widths":          {"a\u00a0b\u2003c\u3000d", "a b c d"},
		"an escape sequence of terminals": {"a\x1b[2Jb\u009b1mc", "a[2Jb1mc"},
		"a bell, a delete, a NUL":         {"a\a\x7f\x00b", "ab"},
		"bytes that are no UTF-8":         {"a\xffb", "a\ufffdb"},
		"nothing":                         {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, event.Visible(test.in))
		})
	}
}

func TestNoCharacterBelowTheSoftHyphenIsInvisible(t *testing.T) {
	t.Parallel()
	for r := range rune(0xad) {
		assert.False(t, unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point), "%U", r)
	}
	assert.True(t, event.IsInvisible(0xad))
}

func TestVisibleLineHidesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ in, want string }{
		"plain text stays":                            {`the view "a b" of Zoë 日本`, `the view "a b" of Zoë 日本`},
		"white space of every kind is joined":         {" CASE\n\t WHEN a\r\nTHEN\u00a0b\u2028END\u2029\n", "CASE WHEN a THEN b END"},
		"an escape sequence of terminals is shown":    {"a\x1b[2Jb\u009b1mc", `a\u001b[2Jb\u009b1mc`},
		"an OSC that sets the title is shown":         {"\x1b]0;title\a", `\u001b]0;title\u0007`},
		"a right-to-left override is shown":           {"a\u202eb", `a\u202eb`},
		"characters without width are shown":          {"a\u200b\ufeffb", `a\u200b\ufeffb`},
		"characters beyond the first plane are too":   {"a\U000e0041b", `a\U000e0041b`},
		"a backspace and a delete are shown":          {"a\b\x7f", `a\u0008\u007f`},
		"bytes that are no UTF-8 are replaced":        {"a\xffb", "a\ufffdb"},
		"nothing stays nothing, and blanks become it": {" \n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, test.want, event.VisibleLine(test.in))
		})
	}
}
