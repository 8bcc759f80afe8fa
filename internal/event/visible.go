package event

import (
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
