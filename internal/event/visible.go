package event

import (
	"fmt"
	"strings"
	"unicode"
)

// IsInvisible reports whether a reader sees nothing of a character, and yet it changes what is shown: format characters (Unicode's Cf,
// among them the bidirectional controls), separators of lines and paragraphs, variation selectors, and fillers.
func IsInvisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// Visible returns s as it may be shown in a column: blanks of every kind, line breaks among them, become plain ones, and control
// characters and invisible ones are dropped.
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

// VisibleLine returns s as one line on which nothing is hidden: white space of every kind becomes one blank, and control characters and
// invisible ones are escaped as in Go, "\u202e", so that two texts that differ in them are shown differently.
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
