package phone_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/phone"
)

func TestFinderFindsANumberInEveryNotation(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		number, text string
		want         bool
	}{
		"E.164":                                    {"+12055550142", "+12055550142", true},
		"without the plus sign":                    {"+12055550142", "12055550142", true},
		"in brackets and with a dash":              {"+12055550142", "call (205) 555-0142 now", true},
		"with dots":                                {"+12055550142", "205.555.0142", true},
		"as the region dials a long distance":      {"+12055550142", "1-205-555-0142", true},
		"as one dials it from abroad":              {"+12055550142", "0012055550142", true},
		"with an extension":                        {"+12055550142", "205-555-0142 x7", true},
		"with an extension close to it":            {"+12055550142", "2055550142x7", true},
		"with a label close to it":                 {"+12055550142", "Tel.2055550142", true},
		"behind another number":                    {"+12055550142", "2055550143 2055550142", true},
		"behind another number with a comma":       {"+12055550142", "2055550143,2055550142", true},
		"in a long text":                           {"+12055550142", strings.Repeat("word ", 2000) + "+1 205 555 0142.", true},
		"with no-break spaces":                     {"+12055550142", "+1\u00a0205\u00a0555\u00a00142", true},
		"with a zero-width space":                  {"+12055550142", "205\u200b5550142", true},
		"with full-width digits":                   {"+12055550142", "２０５５５５０１４２", true},
		"with Arabic digits":                       {"+12055550142", "\u0662\u0660\u0665\u0665\u0665\u0665\u0660\u0661\u0664\u0662", true},
		"with dashes of typographers":              {"+12055550142", "205–555‑0142", true},
		"in a tel URI":                             {"+12055550142", "tel:+1-205-555-0142;ext=7", true},
		"British, as one dials it there":           {"+447400123456", "07400 123456", true},
		"British, with the zero in brackets":       {"+447400123456", "+44 (0)7400 123456", true},
		"German, with a slash":                     {"+4930901820", "030/901820", true},
		"Mexican, with the old 1":                  {"+525512345678", "+52 1 55 1234 5678", true},
		"Mexican, without the old 1":               {"+5215512345678", "+52 55 1234 5678", true},
		"Russian, as one dials it there":           {"+79123456789", "8 (912) 345-67-89", true},
		"another number":                           {"+12055550142", "+12055550143", false},
		"a longer number that begins with it":      {"+12055550142", "+120555501423", false},
		"a longer number that ends with it":        {"+12055550142", "9912055550142", false},
		"the digits within an id":                  {"+12055550142", "ab2055550142cd", false},
		"the digits at the end of an id":           {"+12055550142", "cus_2055550142", false},
		"another country's number of these digits": {"+12055550142", "+44 2055550142", false},
		"behind another number with a code":        {"+12055550142", "+1 205 555 0143 2055550142", true},
		"behind its own country code, in words":    {"+447400123456", "(+44) 7400 123456", true},
		"digits that are too far apart":            {"+12055550142", "205 and 555 and 0142", false},
		"a part of it":                             {"+12055550142", "555-0142", false},
		"a date with a short number's digits":      {"+4520261127", "20261127", false},
		"a short number with its country code":     {"+4520261127", "+45 20 26 11 27", true},
		"nothing":                                  {"+12055550142", "", false},
		"a date and an hour":                       {"+12026091220", "2026-09-12 20:00:00", false},
		"a date with slashes and a time":           {"+12026091220", "2026/09/12 20:30", false},
		"a date in the name of a file":             {"+12026091220", "report-2026-09-12-20.pdf", false},
		"a date without separators and an hour":    {"+12026091220", "20260912 20:00", false},
		"an IP address":                            {"+12026091220", "202.60.91.220", false},
		"a date that begins with the day":          {"+33609202612", "06/09/2026 12:30", false},
		"digits of a date, written as a number":    {"+12026091220", "202-609-1220", true},
		"digits of a date behind a plus sign":      {"+12026091220", "+1 2026-09-1220", true},
		"pairs that look like a date":              {"+33609202612", "06 09 20 26 12", true},
		"with underscores":                         {"+12055550142", "205_555_0142", true},
		"with middle dots":                         {"+12055550142", "205·555·0142", true},
		"in square brackets":                       {"+12055550142", "[205] 555 0142", true},
		"with wide blanks":                         {"+12055550142", "205     555     0142", true},
		"a word":                                   {"+12055550142", "undefined", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, phone.NewFinder(tt.number).In(tt.text))
		})
	}
}

func TestEmailInFindsAWholeAddress(t *testing.T) {
	t.Parallel()
	const ada = "ada@example.com"
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"the address":                     {ada, true},
		"in capitals":                     {"ADA@Example.com", true},
		"in a sentence, with a full stop": {"write to ada@example.com.", true},
		"with a display name":             {"Ada <ada@example.com>", true},
		"in quotes":                       {"'ada@example.com'", true},
		"behind mailto:":                  {"mailto:ada@example.com?subject=hi", true},
		"behind another address":          {"xada@example.com, ada@example.com", true},
		"a longer local part":             {"xada@example.com", false},
		"a local part with a dot":         {"countess.ada@example.com", false},
		"a local part with a dash":        {"o-ada@example.com", false},
		"a local part with an apostrophe": {"o'ada@example.com", false},
		"a tag":                           {"ada+crm@example.com", false},
		"a longer domain":                 {"ada@example.com.au", false},
		"another domain":                  {"ada@example.community", false},
		"nothing":                         {"", false},
		"with a zero-width space":         {"ada\u200b@example.com", true},
		"with a soft hyphen":              {"ada@exam\u00adple.com", true},
		"with a full-width @":             {"ada＠example.com", true},
		"with an @ as HTML escapes it":    {"ada&#64;example.com", true},
		"between asterisks":               {"write to *ada@example.com*", true},
		"between backticks":               {"`ada@example.com`", true},
		"between bars":                    {"|ada@example.com|", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, phone.EmailIn(tt.text, ada))
		})
	}
}

// TestAnAddressIsFoundInEveryUnicodeForm looks for each form of an address in each of the others.
func TestAnAddressIsFoundInEveryUnicodeForm(t *testing.T) {
	t.Parallel()
	for name, forms := range map[string][]string{
		"a domain in punycode": {
			"ada@bücher.example", "ada@xn--bcher-kva.example", "ADA@XN--BCHER-KVA.EXAMPLE", "ada@b\u0075\u0308cher.example", "ADA@BÜCHER.EXAMPLE",
			"ada@BU\u0308CHER。example", "ada﹫bücher．example", "ada&#64;b&uuml;cher.example",
		},
		"a local part with an accent":           {"josé@example.com", "jose\u0301@example.com", "JOSÉ@EXAMPLE.COM", "JOSE\u0301@example.com"},
		"both":                                  {"zoë@müller.example", "ZOE\u0308@xn--mller-kva.example", "zoë@MU\u0308LLER.example"},
		"a letter with a rare capital":          {"max@straße.example", "MAX@STRAẞE.EXAMPLE", "max@xn--strae-oqa.example"},
		"a letter with two forms in lower case": {"νίκος@example.com", "ΝΊΚΟΣ@example.com", "νι\u0301κος@example.com"},
		"two parts in punycode":                 {"ada@bücher.müller.example", "ada@xn--bcher-kva.xn--mller-kva.example"},
		"another script":                        {"ada@例え.テスト", "ada@xn--r8jz45g.xn--zckzah"},
		"letters of one width":                  {"ada@example.com", "ａｄａ@ｅｘａｍｐｌｅ．ｃｏｍ", "ADA＠EXAMPLE.COM"},
	} {
		for _, address := range forms {
			for _, other := range forms {
				assert.True(t, phone.EmailIn("to "+other+", please", address), "%s: %q in %q", name, address, other)
				assert.False(t, phone.OtherEmailsIn("to "+other+", please", []string{address}), "%s: %q in %q", name, address, other)
				assert.False(t, phone.EmailIn("x"+other, address), "%s: %q in x%q", name, address, other)
			}
			found := phone.Emails(address)
			assert.Equal(t, phone.Emails(forms[0]), found, "%s: %q is one address", name, address)
		}
	}
	for text, address := range map[string]string{
		"jose\u0301@example.com":     "jose@example.com",
		"josé@example.com":           "jose@example.com",
		"e\u0301jose@example.com":    "jose@example.com",
		"q\u0301jose@example.com":    "jose@example.com", // No character is composed of these.
		"ada@bucher.example":         "ada@bücher.example",
		"max@strasse.example":        "max@straße.example",
		"ada@xn--bcher-kvb.example":  "ada@bücher.example",
		"ada@xn--bcher-kva2.example": "ada@bücher.example",
		"ada@bücher.example\u0301":   "ada@bücher.example",
	} {
		assert.False(t, phone.EmailIn(text, address), "%q in %q", address, text)
	}
	assert.True(t, phone.EmailIn("xn--99999999999: ada@example.com", "ada@example.com"), "what is no punycode")
}

func TestOthersAreFoundBesideTheKnownOnes(t *testing.T) {
	t.Parallel()
	mine := []*phone.Finder{phone.NewFinder("+12055550142")}
	for text, want := range map[string]bool{
		"205 555 0142": false, "2055550142 2055550143": true, "call 205-555-0143": true, "+44 7400 123456": true, "": false, "word": false,
		"2026-09-12 20:00:00": false, "2026-09-12T20:00:00Z": false, "202.60.91.220": false, "1757707200000": false, "cus_2055550143x9": false,
		"205 555 0142 and 205 555 0143": true, "42": false, "205 555 0142 ext. 7": false,
	} {
		assert.Equal(t, want, phone.OthersIn(text, "US", mine), text)
	}
	for text, want := range map[string]bool{
		"ada@example.com": false, "Ada <ADA@example.com>": false, "ada@example.com bob@example.com": true, "bob＠example.com": true,
		"mailto:bob@example.com?subject=hi": true, "?a=1&email=bob@example.com": true, "": false, "@ada": false, "xada@example.com": true,
	} {
		assert.Equal(t, want, phone.OtherEmailsIn(text, []string{"ada@example.com"}), text)
	}
}

func TestSeveralNumbersAndAddressesInOneField(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"+12055550142", "+12055550143"}, phone.Numbers("205-555-0142, +1 205 555 0143 / fax 205-555-0144", "US"))
	assert.Equal(t, []string{"+12055550142", "+12055550143"}, phone.Numbers("2055550142 2055550143", "US"))
	assert.Empty(t, phone.Numbers("call me", "US"))
	assert.ElementsMatch(t, []string{"ada@example.com", "bob@example.com"}, phone.Emails("Ada@Example.com; Bob <bob@example.com>"))
	assert.ElementsMatch(t, []string{"ada@example.com", "bob@example.com"}, phone.Emails("ada@example.com bob@example.com"))
	assert.Empty(t, phone.Emails("none"))
}
