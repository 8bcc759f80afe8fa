package phone

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	// bracketed is an address after a display name: Ada <ada@example.com>.
	bracketed = regexp.MustCompile(`<([^<>]*@[^<>]*)>`)
	// addressSeparators stand between two addresses in one field.
	addressSeparators = regexp.MustCompile(`[,;|/\n\r\t]+|(?i:\s(?:or|and|oder|und|ou|et)\s)`)
	// addressLabel is a label before an address.
	addressLabel = regexp.MustCompile(`(?i)^[\pL .\-]*:\s*`)
)

// aroundAddresses are characters that people and programs put around an address.
const aroundAddresses = " \t.,;:!?<>()[]{}\"'`“”„‘’«»"

// Email returns the first usable e-mail address of raw in lower case, and false if there is none. Invisible characters, brackets,
// punctuation, a display name, "mailto:", a label and other addresses may be around it.
//
// The check must distinguish people and reject what is no address. A mail server may be stricter.
func Email(raw string) (string, bool) {
	text := strings.ToLower(visible(raw))
	if len(text) > maxTyped {
		return "", false
	}
	for _, match := range bracketed.FindAllStringSubmatch(text, -1) {
		if address, ok := addressOf(match[1]); ok {
			return address, true
		}
	}
	for _, piece := range addressSeparators.Split(text, -1) {
		if address, ok := addressOf(piece); ok {
			return address, true
		}
	}
	return "", false
}

// addressOf returns the first address of a text that holds only addresses.
func addressOf(text string) (string, bool) {
	text = addressLabel.ReplaceAllString(strings.Trim(text, aroundAddresses), "")
	text, _, _ = strings.Cut(text, "?") // mailto:ada@example.com?subject=…
	words := strings.Fields(text)
	first := ""
	for _, word := range words {
		word = strings.Trim(word, aroundAddresses)
		if !isAddress(word) {
			return "", false
		}
		if first == "" {
			first = word
		}
	}
	return first, first != ""
}

func isAddress(address string) bool {
	local, domain, found := strings.Cut(address, "@")
	// 254 bytes is the longest address that SMTP can carry (RFC 5321, 4.5.3.1.3).
	if !found || local == "" || len(address) > 254 || strings.ContainsFunc(address, notInAddresses) {
		return false
	}
	if strings.Contains(domain, "@") || strings.Contains(domain, "..") {
		return false
	}
	dot := strings.LastIndex(domain, ".")
	return dot >= 1 && dot < len(domain)-1 && !strings.HasPrefix(domain, ".")
}

func notInAddresses(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(`,;:<>()[]"\`, r)
}
