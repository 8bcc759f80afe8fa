package phone

import (
	"iter"
	"regexp"
	"strings"
	"unicode"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// maxTyped bounds, in bytes, the text that is parsed, so that parsing is cheap for any input.
const maxTyped = 256

// maxRaw bounds, in bytes, the text before invisible characters and blanks around it are removed.
const maxRaw = 16 * maxTyped

var (
	// separators stand between two values in one field. A slash may belong to a German area code, so the whole text is tried first.
	separators = regexp.MustCompile(`[,;|/\\&\n\r\t]+|(?i:\s(?:or|and|oder|und|ou|et)\s)`)
	// digitRun is a number within other text: digits, the usual characters between them, and an extension.
	digitRun = regexp.MustCompile(`(?:\+|\(\+?)?[ ]?[0-9](?:[ ().\-‐-―+]*[0-9])*(?:\s*(?i:ext\.?|x|#)\s*[0-9]+)?`)
	// label is a word that names the kind of the number after it. No blank need be between them.
	label = regexp.MustCompile(`(?i)(?:^|\pZ|\pP)(?:tel|telephone|phone|ph|mobile|mobil|mob|cellular|cell|cel|handy|` +
		`home|work|office|main|whatsapp|wa|sms|text|call|direct|number|no|nr|t|m|p|c|h|w)$`)
	// otherNumber is a word before a number that does not reach the person.
	otherNumber = regexp.MustCompile(`(?i)(?:^|\pZ|\pP)(?:fax|telefax|pager)\PN*$`)
)

// candidates yields the texts within raw that may be a phone number, the most likely first: the whole, then each of several values, then
// the digits in it.
func candidates(raw string) iter.Seq[string] {
	return func(yield func(string) bool) {
		text := visible(raw)
		if text == "" || len(text) > maxTyped {
			return
		}
		if !otherNumber.MatchString(beforeDigits(text)) && !strings.Contains(text, "@") && !yield(text) {
			return
		}
		for _, piece := range separators.Split(text, -1) {
			for _, number := range numbersIn(piece) {
				if number != text && !yield(number) {
					return
				}
			}
		}
	}
}

func beforeDigits(text string) string {
	if i := strings.IndexAny(text, "+0123456789"); i >= 0 {
		return text[:i]
	}
	return text
}

// numbersIn returns the runs of digits in a text that are not part of something else, such as an id, an e-mail address or a URL. A plus
// sign starts another number. If one run may be several numbers with blanks between them, its words are returned as well.
func numbersIn(piece string) []string {
	if strings.Contains(piece, "@") {
		return nil
	}
	var found, words []string
	for _, at := range digitRun.FindAllStringIndex(piece, -1) {
		before, after := piece[:at[0]], piece[at[1]:]
		if otherNumber.MatchString(before) || partOfWord(before, after) {
			continue
		}
		for i, number := range strings.Split(piece[at[0]:at[1]], "+") {
			number = strings.TrimSpace(number)
			if i > 0 {
				number = "+" + strings.TrimLeft(number, "0")
			}
			if number != "" && number != "+" && number != "(" {
				found = append(found, number)
			}
			if fields := strings.Fields(number); len(fields) > 1 && !slicesShort(fields) {
				words = append(words, fields...)
			}
		}
	}
	return append(found, words...)
}

// slicesShort reports whether one of the words is too short to be a number: the blanks then group digits.
func slicesShort(words []string) bool {
	const shortest = 7
	for _, word := range words {
		if len(word) < shortest {
			return true
		}
	}
	return false
}

// partOfWord reports whether a run of digits continues a word before or after it.
func partOfWord(before, after string) bool {
	last, first := lastRune(before), firstRune(after)
	if unicode.IsLetter(first) || first == '_' {
		return true
	}
	return (unicode.IsLetter(last) || last == '_') && !label.MatchString(before)
}

// visible returns text as a reader sees it: without invisible characters, with full-width forms as ASCII, with plain blanks, and without
// blanks around it. It returns "" if the text is too long.
func visible(text string) string {
	if len(text) > maxRaw {
		return ""
	}
	text = strings.ToValidUTF8(text, "\ufffd")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return r
		case unicode.IsSpace(r):
			return ' '
		case event.IsInvisible(r):
			return -1
		case 0xff01 <= r && r <= 0xff5e:
			return r - 0xfee0
		default:
			return r
		}
	}, text)
	return strings.TrimSpace(text)
}

func firstRune(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}

func lastRune(s string) rune {
	var last rune
	for _, r := range s {
		last = r
	}
	return last
}
