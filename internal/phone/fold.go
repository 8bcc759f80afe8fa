package phone

import (
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// encodedLabel is a part of a domain in punycode (RFC 5890, 2.3.2.1).
var encodedLabel = regexp.MustCompile(`xn--[0-9a-z-]+`)

// Folded returns a text in the form in which e-mail addresses are compared: in lower case, with composed characters of one width, with
// domains in Unicode instead of punycode, and without invisible characters. It is approximately Unicode's NFKC_Casefold, with simple case
// folding: straße.example and strasse.example are two domains (RFC 5894, 7.2), so ß is not ss.
func Folded(text string) string {
	text = plain(html.UnescapeString(text))
	ascii := isASCII(text)
	if ascii {
		text = strings.ToLower(text)
	} else {
		text = foldUnicode(text)
	}
	if !strings.Contains(text, "xn--") {
		return text
	}
	return encodedLabel.ReplaceAllStringFunc(text, func(label string) string {
		decoded, err := idna.Punycode.ToUnicode(label)
		if err != nil {
			return label
		}
		return foldUnicode(decoded)
	})
}

func foldUnicode(text string) string {
	text = norm.NFKC.String(strings.Map(foldRune, norm.NFKC.String(text)))
	return strings.ReplaceAll(text, "。", ".") // It stands for a dot in a domain (RFC 3490, 3.1).
}

// foldRune returns the same rune for all runes that differ only in case.
func foldRune(r rune) rune {
	first := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		first = min(first, other)
	}
	return unicode.ToLower(first)
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// mayHoldAddress reports whether a text has an @ in any form. Most texts have none, and so no address.
func mayHoldAddress(text string) bool {
	return strings.ContainsAny(text, "@&＠﹫")
}
