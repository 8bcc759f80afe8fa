package phone

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nyaruka/phonenumbers"

	"github.com/dfmiddleware/verity-sync/internal/event"
)

// Finder finds one phone number in texts, in any notation: in E.164, as dialled from abroad or within its country, with blanks, dashes and
// brackets, and beside other numbers. It does not find a part of a longer number.
//
// Unlike E164 it searches for a known number, so it reads texts of any length and every number in them.
type Finder struct {
	// forms are the digits of each notation, and whether it is the national one.
	forms   map[string]bool
	longest int
}

// shortestBare is the minimum number of digits of a number without a country code and without a trunk prefix. Shorter ones may be dates,
// amounts and counters.
const shortestBare = 9

// NewFinder returns a Finder of a number in E.164 form.
func NewFinder(number string) *Finder {
	f := &Finder{forms: map[string]bool{}}
	for _, n := range append([]string{number}, Variants(number)...) {
		parsed, err := phonenumbers.Parse(n, "")
		if err != nil {
			continue
		}
		digits := strings.TrimPrefix(n, "+")
		national := phonenumbers.GetNationalSignificantNumber(parsed)
		code := strings.TrimSuffix(digits, national)
		f.add(false, digits, "00"+digits, "011"+digits, code+"0"+national)
		if dialled := onlyDigits(phonenumbers.Format(parsed, phonenumbers.NATIONAL)); len(dialled) > len(national) {
			f.add(true, dialled)
		}
		if len(national) >= shortestBare {
			f.add(true, national, "0"+national)
		}
	}
	return f
}

func (f *Finder) add(national bool, forms ...string) {
	for _, form := range forms {
		was, found := f.forms[form]
		f.forms[form] = national && (was || !found)
		f.longest = max(f.longest, len(form))
	}
}

// In reports whether a text contains the number.
func (f *Finder) In(text string) bool {
	if !strings.ContainsFunc(text, unicode.IsDigit) {
		return false
	}
	text = plain(text)
	groups := groupsOf(text)
	for first := range groups {
		if f.at(text, groups, first) > 0 {
			return true
		}
	}
	return false
}

// at returns how many groups of digits, starting with the given one, are the number; 0 if none are.
func (f *Finder) at(text string, groups []group, first int) int {
	var digits strings.Builder
	for last := first; last < len(groups) && (last == first || groups[last].follows); last++ {
		digits.WriteString(text[groups[last].from:groups[last].to])
		if digits.Len() > f.longest {
			break
		}
		national, found := f.forms[digits.String()]
		if found && !(national && behindCode(text, groups, first)) && !partOfMore(text, groups[first].from, groups[last].to) &&
			!readsAsOther(text, groups[first:last+1]) {
			return last + 1 - first
		}
	}
	return 0
}

// OthersIn reports whether a text contains a usable phone number other than those of the finders. See E164 for region.
func OthersIn(text, region string, finders []*Finder) bool {
	if !strings.ContainsFunc(text, unicode.IsDigit) {
		return false
	}
	text = plain(text)
	groups := groupsOf(text)
	for first := 0; first < len(groups); {
		if n := longestAt(finders, text, groups, first); n > 0 {
			first += n
			continue
		}
		end := first + 1
		for end < len(groups) && groups[end].follows && longestAt(finders, text, groups, end) == 0 {
			end++
		}
		if usableIn(text, groups[first:end], region) {
			return true
		}
		first = end
	}
	return false
}

func longestAt(finders []*Finder, text string, groups []group, first int) int {
	n := 0
	for _, f := range finders {
		n = max(n, f.at(text, groups, first))
	}
	return n
}

// usableIn reports whether consecutive groups of digits are or contain a phone number.
func usableIn(text string, groups []group, region string) bool {
	from, to := groups[0].from, groups[len(groups)-1].to
	if readsAsOther(text, groups) || partOfMore(text, from, to) {
		return false
	}
	if from > 0 && text[from-1] == '+' {
		from--
	}
	return to-from > maxTyped || len(Numbers(text[from:to], region)) > 0
}

// readsAsOther reports whether groups of digits without a plus sign are an IP address, or contain a date.
func readsAsOther(text string, groups []group) bool {
	if from := groups[0].from; from > 0 && text[from-1] == '+' {
		return false
	}
	between := func(i int) string { return text[groups[i].to:groups[i+1].from] }
	number := func(i int) (n, length int) {
		n, err := strconv.Atoi(text[groups[i].from:groups[i].to])
		if err != nil {
			n = -1
		}
		return n, groups[i].to - groups[i].from
	}
	isYear := func(i int) bool { n, length := number(i); return length == 4 && n >= 1900 && n < 2100 }
	isDay := func(i int) bool { n, length := number(i); return length <= 2 && n >= 1 && n <= 31 }
	for i := 0; i+2 < len(groups); i++ {
		if b := between(i); len(b) != 1 || b != between(i+1) || !strings.Contains("-/.", b) {
			continue
		}
		if isDay(i+1) && (isYear(i) && isDay(i+2) || isDay(i) && isYear(i+2)) {
			return true
		}
	}
	if len(groups) > 1 {
		if _, err := time.Parse("20060102", text[groups[0].from:groups[0].to]); err == nil {
			return true
		}
	}
	const quad = 4
	for i := range groups {
		if n, _ := number(i); n < 0 || n > 255 || len(groups) != quad || i+1 < quad && between(i) != "." {
			return false
		}
	}
	return true
}

// Within reports whether the digits of a text, without everything between them, contain the number. It also finds the number in ids and
// keys, where In sees a part of a word. It may report a number that is not there.
func (f *Finder) Within(text string) bool {
	digits := onlyDigits(plain(text))
	for form := range f.forms {
		if len(form) >= shortestBare && strings.Contains(digits, form) {
			return true
		}
	}
	return false
}

// behindCode reports whether the digits follow a country code, which makes them a number of that country.
func behindCode(text string, groups []group, at int) bool {
	const longest = 3
	if at == 0 || !groups[at].follows {
		return false
	}
	before := groups[at-1]
	return before.to-before.from <= longest && before.from > 0 && text[before.from-1] == '+'
}

// group is a run of digits in a text.
type group struct {
	from, to int
	// follows is true if only characters that are usual within a number are between this group and the one before.
	follows bool
}

// maxBetween is how many characters may be between two groups of digits of a number.
const maxBetween = 3

// widestBlank is how many blanks may.
const widestBlank = 8

func groupsOf(text string) []group {
	var groups []group
	for at := 0; at < len(text); {
		if !isDigit(text[at]) {
			at++
			continue
		}
		g := group{from: at}
		for at < len(text) && isDigit(text[at]) {
			at++
		}
		g.to = at
		if n := len(groups); n > 0 {
			between := text[groups[n-1].to:g.from]
			wide := len(between) > maxBetween && len(between) <= widestBlank && strings.TrimLeft(between, " ") == ""
			g.follows = wide || len(between) <= maxBetween && strings.Trim(between, " ().-/+[]_·") == ""
		}
		groups = append(groups, g)
	}
	return groups
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// partOfMore reports whether digits are part of a word, such as an id.
func partOfMore(text string, from, to int) bool {
	const label = 16 // As long as the longest word before a number, and a little more.
	before, after := text[max(0, from-label):from], text[to:min(len(text), to+label)]
	lower := strings.ToLower(after)
	if rest, ok := strings.CutPrefix(lower, "x"); ok && strings.IndexFunc(rest, unicode.IsDigit) == 0 {
		after = "" // An extension.
	} else if strings.HasPrefix(lower, "ext") {
		after = ""
	}
	return partOfWord(before, after)
}

// plain returns a text for comparison: digits of all scripts as ASCII, one kind of dash and of blank, and no invisible characters.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < unicode.MaxASCII && !unicode.IsSpace(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		case event.IsInvisible(r):
			return -1
		case unicode.Is(unicode.Pd, r), r == '\u2212':
			return '-'
		case unicode.Is(unicode.Nd, r):
			return '0' + (r-zeroOf(r))%10
		case 0xff01 <= r && r <= 0xff5e:
			return r - 0xfee0
		default:
			return r
		}
	}, text)
}

// zeroOf returns the zero of the ten consecutive digits that include r (Unicode, chapter 4.6: Nd).
func zeroOf(r rune) rune {
	for unicode.Is(unicode.Nd, r-1) {
		r--
	}
	return r
}

func onlyDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, text)
}

// Numbers returns all usable phone numbers of raw in E.164 form: people type several into one field. See E164 for region.
func Numbers(raw, region string) []string {
	var numbers []string
	for candidate := range candidates(raw) {
		if number, _ := readOne(candidate, strings.ToUpper(region)); number != "" && !slices.Contains(numbers, number) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// Emails returns all usable e-mail addresses of raw, in the form in which EmailIn compares them.
func Emails(raw string) []string {
	var addresses []string
	raw = Folded(raw)
	for _, piece := range append([]string{raw}, addressSeparators.Split(raw, -1)...) {
		for _, word := range append([]string{piece}, strings.Fields(piece)...) {
			if address, ok := Email(word); ok && !slices.Contains(addresses, address) {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses
}

// OtherEmailsIn reports whether a text contains a usable e-mail address other than the given ones.
func OtherEmailsIn(text string, addresses []string) bool {
	if !mayHoldAddress(text) {
		return false
	}
	for _, word := range strings.FieldsFunc(Folded(text), func(r rune) bool {
		return unicode.IsSpace(r) || strings.ContainsRune(",;:|/\\<>()[]{}\"'`*=&?", r)
	}) {
		if _, ok := Email(word); ok && !slices.ContainsFunc(addresses, func(mine string) bool { return EmailIn(word, mine) }) {
			return true
		}
	}
	return false
}

// EmailIn reports whether a text contains an e-mail address that is not part of a longer one. The two may differ in case, in the Unicode
// form of characters (composed or not, wide or not), and in whether the domain is in punycode.
func EmailIn(text, address string) bool {
	if !mayHoldAddress(text) {
		return false
	}
	text, address = Folded(text), Folded(address)
	for from := 0; ; {
		at := strings.Index(text[from:], address)
		if at < 0 {
			return false
		}
		start, end := from+at, from+at+len(address)
		if !addressContinues(text[:start], text[end:]) {
			return true
		}
		from = end
	}
}

// addressContinues reports whether the address that was found is part of a longer one.
func addressContinues(before, after string) bool {
	last, first := lastRune(before), firstRune(after)
	if last == first && strings.ContainsRune("*_`|~", last) {
		return false // Marks around it.
	}
	if isOfAddress(last) || last == '.' || last == '\'' && isOfAddress(lastRune(strings.TrimSuffix(before, "'"))) {
		return true
	}
	if first == '.' {
		first = firstRune(after[1:])
	}
	return unicode.IsLetter(first) || unicode.IsDigit(first) || unicode.IsMark(first) || first == '-' || first == '@'
}

// isOfAddress reports whether a character can be part of an address before the @. Quotes, brackets and slashes surround an address.
func isOfAddress(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune("_%+-!#$&*?^`{|}~", r)
}
