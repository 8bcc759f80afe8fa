package event

import (
	"fmt"
	"strings"
	"unicode"
)

// IsInvisible reports whether a character has no glyph but changes what is shown: format characters (Unicode's Cf, which includes the
// bidirectional controls), line and paragraph separators, variation selectors, and fillers. It is the only list of such characters: ids,
// phone numbers, e-mail addresses and columns all use it. A caller that keeps blanks tests unicode.IsSpace first.
func IsInvisible(r rune) bool {
	const first = 0xad // The soft hyphen: all of ASCII is visible or a control character.
	return r >= first &&
		unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// Visible returns s as a column can show it: white space of every kind becomes a plain blank, and control characters and invisible
// characters are removed.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), IsInvisible(r):
			return -1
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// VisibleLine returns s as one line that hides nothing: white space of every kind becomes one blank, and control characters and invisible
// characters are escaped as in Go, "\u202e", so that two texts that differ in them look different.
func VisibleLine(s string) string {
	var line strings.Builder
	for _, r := range strings.Join(strings.Fields(strings.ToValidUTF8(s, "\ufffd")), " ") {
		switch {
		case !unicode.IsControl(r) && !IsInvisible(r):
			line.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&line, `\U%08x`, r)
		default:
			fmt.Fprintf(&line, `\u%04x`, r)
		}
	}
	return line.String()
}
