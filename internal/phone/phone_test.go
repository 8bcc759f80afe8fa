package phone_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/phone"
)

func TestE164(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ raw, region, want string }{
		"E.164 stays":                                {"+12055550142", "US", "+12055550142"},
		"E.164 needs no region":                      {"+12055550142", "", "+12055550142"},
		"national, as Americans write it":            {"(205) 555-0142", "US", "+12055550142"},
		"national, digits only":                      {"2055550142", "US", "+12055550142"},
		"national, with the trunk prefix":            {"1-205-555-0142", "US", "+12055550142"},
		"national, of another region":                {"07400 123456", "GB", "+447400123456"},
		"a leading zero that belongs to the number":  {"06 12345678", "IT", "+390612345678"},
		"the region in lower case":                   {"205.555.0142", "us", "+12055550142"},
		"blanks within E.164":                        {"+20 12 00000198", "US", "+201200000198"},
		"blanks around it":                           {"\t +1 205 555 0142 \n", "US", "+12055550142"},
		"a no-break space":                           {"+1\u00a0205\u00a0555\u00a00142", "US", "+12055550142"},
		"full-width digits and plus":                 {"+12055550142", "US", "+12055550142"},
		"no plus, but the region's own country code": {"12055550142", "US", "+12055550142"},
		"no plus, another country's code":            {"201200000198", "US", "+201200000198"},
		"no plus, written apart":                     {"44 (7400) 123-456", "US", "+447400123456"},
		"no plus and no region":                      {"201200000198", "", "+201200000198"},
		"no plus and an unknown region":              {"201200000198", "XX", "+201200000198"},
		"00 where the region dials 011":              {"00201200000198", "US", "+201200000198"},
		"00 where the region dials 00":               {"0020 1200000198", "GB", "+201200000198"},
		"011, as the region dials":                   {"011 20 1200000198", "US", "+201200000198"},
		"an extension is dropped":                    {"205-555-0142 ext. 7", "US", "+12055550142"},
		"a tel URI":                                  {"tel:+1-205-555-0142;ext=7", "US", "+12055550142"},
		"letters for digits":                         {"1-800-FLOWERS", "US", "+18003569377"},
		"an area code that is not in use":            {"+1 555 555 0142", "US", "+15555550142"},
		"the same without a plus":                    {"(555) 555-0142", "US", "+15555550142"},
		"one digit repeated, if it is in use":        {"+44 7777 777777", "US", "+447777777777"},

		"two numbers with a slash":            {"+1 (205) 555-0142 / (205) 555-0143", "US", "+12055550142"},
		"two numbers with a comma":            {"205-555-0142, 205-555-0143", "US", "+12055550142"},
		"two numbers with a semicolon":        {"2055550142;2055550143", "US", "+12055550142"},
		"two numbers with a word":             {"205-555-0142 or 205-555-0143", "US", "+12055550142"},
		"two numbers on two lines":            {"205-555-0142\n205-555-0143", "US", "+12055550142"},
		"two numbers with a blank":            {"2055550142 2055550143", "US", "+12055550142"},
		"two numbers, each with a plus":       {"+1 205 555 0142 +1 205 555 0143", "US", "+12055550142"},
		"the first of two is unusable":        {"555-0142 / 205-555-0143", "US", "+12055550143"},
		"a placeholder before a number":       {"000-000-0000, 205-555-0142", "US", "+12055550142"},
		"marks of writing direction":          {"\u202d+1 205-555-0142\u202c", "US", "+12055550142"},
		"a zero-width space in it":            {"+1 205\u200b555\u200b0142", "US", "+12055550142"},
		"a byte-order mark before it":         {"\ufeff2055550142", "US", "+12055550142"},
		"square brackets around":              {"[+1 205 555 0142]", "US", "+12055550142"},
		"angle brackets around":               {"<+12055550142>", "US", "+12055550142"},
		"quotes around":                       {"“205-555-0142”", "US", "+12055550142"},
		"an apostrophe before, as from Excel": {"'+12055550142", "US", "+12055550142"},
		"a full stop behind":                  {"205-555-0142.", "US", "+12055550142"},
		"a comma behind":                      {"+12055550142,", "US", "+12055550142"},
		"an exclamation mark behind":          {"+12055550142!!", "US", "+12055550142"},
		"a label":                             {"Mobile: 205-555-0142", "US", "+12055550142"},
		"a label close to it":                 {"Tel.2055550142", "US", "+12055550142"},
		"a label without a blank":             {"cell2055550142", "US", "+12055550142"},
		"a label behind":                      {"205-555-0142 (mobile)", "US", "+12055550142"},
		"a label in another language":         {"Móvil: +34 612 34 56 78", "US", "+34612345678"},
		"two labels":                          {"home: 205-555-0142 cell: 205-555-0143", "US", "+12055550142"},
		"a fax number first":                  {"Fax: 205-555-0142, Tel: 205-555-0143", "US", "+12055550143"},
		"a sentence around":                   {"please call 205-555-0142 after 5", "US", "+12055550142"},
		"a country code in brackets":          {"(+1) 205 555 0142", "US", "+12055550142"},
		"a plus in full width":                {"\uff0b\uff11 205 555 0142", "US", "+12055550142"},
		"full-width digits":                   {"\uff12\uff10\uff15\uff15\uff15\uff15\uff10\uff11\uff14\uff12", "US", "+12055550142"},
		"Arabic digits":                       {"+\u0661 \u0662\u0660\u0665 555 0142", "US", "+12055550142"},
		"a plus and zeros":                    {"+0044 7400 123456", "US", "+447400123456"},
		"a trunk zero in brackets":            {"+44 (0)7400 123456", "US", "+447400123456"},
		"a trunk zero behind a country code":  {"+49 030 901820", "US", "+4930901820"},
		"a German area code with a slash":     {"030/901820", "DE", "+4930901820"},
		"an extension with a comma":           {"205-555-0142, ext 7", "US", "+12055550142"},
		"a number sign":                       {"#205-555-0142", "US", "+12055550142"},
		"a Mexican mobile with its old 1":     {"+52 1 55 1234 5678", "US", "+525512345678"},
		"a Mexican mobile without a plus":     {"5215512345678", "MX", "+525512345678"},
		"a Mexican mobile in Mexico":          {"1 55 1234 5678", "MX", "+525512345678"},
		"an Argentine mobile":                 {"+54 9 11 2345 6789", "US", "+5491123456789"},
		"a WhatsApp link":                     {"https://wa.me/12055550142", "US", "+12055550142"},

		"a fax number alone":                  {"Fax 205-555-0142", "US", ""},
		"digits within an e-mail address":     {"ada2055550142@example.com", "US", ""},
		"brackets alone":                      {"[]", "US", ""},
		"nothing":                             {"", "US", ""},
		"blanks":                              {"  \t", "US", ""},
		"a word":                              {"undefined", "US", ""},
		"a sentence":                          {"call me in the morning", "US", ""},
		"an e-mail address":                   {"ada@example.com", "US", ""},
		"a lone plus":                         {"+", "US", ""},
		"no area code":                        {"555-0142", "US", ""},
		"no area code, behind a country code": {"+1 555 0142", "US", ""},
		"no area code, though valid in Niue":  {"683 4002", "US", ""},
		"no area code, with an extension":     {"683 4002 x 12345", "US", ""},
		"an emergency number":                 {"911", "US", ""},
		"national without a region":           {"(205) 555-0142", "", ""},
		"too long":                            {"+1 205 555 0142 555 0142", "US", ""},
		"too long for any number":             {strings.Repeat("2055550142", 50), "US", ""},
		"an unused country code":              {"+999 205 555 0142", "US", ""},
		"zeros, to get past a form":           {"000-000-0000", "US", ""},
		"nines, to get past a form":           {"+1 999 999 9999", "US", ""},
		"an identifier with digits in it":     {"ocQHyuzHvysMo5N5VsXc", "US", ""},
		"invalid UTF-8":                       {"\xff\xfe205", "US", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := phone.E164(tt.raw, tt.region)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != "", ok)
		})
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ raw, want string }{
		"an address stays":                  {"ada@example.com", "ada@example.com"},
		"case does not matter":              {"Ada.Lovelace@Example.COM", "ada.lovelace@example.com"},
		"blanks around it":                  {" \tada@example.com\n", "ada@example.com"},
		"a tag and a subdomain":             {"ada+crm@mail.example.com", "ada+crm@mail.example.com"},
		"an apostrophe":                     {"o'neil@example.com", "o'neil@example.com"},
		"letters beyond ASCII":              {"Käthe@example.com", "käthe@example.com"},
		"nothing":                           {"", ""},
		"a word":                            {"undefined", ""},
		"no local part":                     {"@example.com", ""},
		"no domain":                         {"ada@", ""},
		"a domain without a dot":            {"ada@localhost", ""},
		"a domain that starts with a dot":   {"ada@.example.com", ""},
		"a domain that is a dot":            {"ada@.", ""},
		"two dots in a row":                 {"ada@example..com", ""},
		"two at signs":                      {"ada@lovelace@example.com", ""},
		"two addresses":                     {"ada@example.com, bob@example.com", "ada@example.com"},
		"two addresses without a blank":     {"ada@example.com;bob@example.com", "ada@example.com"},
		"two addresses with a slash":        {"ada@example.com / bob@example.com", "ada@example.com"},
		"two addresses with a word":         {"ada@example.com or bob@example.com", "ada@example.com"},
		"two addresses with a blank":        {"ada@example.com bob@example.com", "ada@example.com"},
		"two addresses on two lines":        {"ada@example.com\nbob@example.com", "ada@example.com"},
		"the first of two is unusable":      {"ada@, bob@example.com", "bob@example.com"},
		"a display name":                    {"Ada <ada@example.com>", "ada@example.com"},
		"a quoted display name":             {`"Lovelace, Ada" <Ada@example.com>`, "ada@example.com"},
		"two with display names":            {"Ada <ada@example.com>, Bob <bob@example.com>", "ada@example.com"},
		"a mailto URI":                      {"mailto:ada@example.com", "ada@example.com"},
		"a mailto URI with a subject":       {"MAILTO:ada@example.com?subject=hi", "ada@example.com"},
		"a label":                           {"E-mail: ada@example.com", "ada@example.com"},
		"a label of two words":              {"Work email: ada@example.com", "ada@example.com"},
		"a full stop behind":                {"ada@example.com.", "ada@example.com"},
		"a comma behind":                    {"ada@example.com,", "ada@example.com"},
		"brackets around":                   {"[ada@example.com]", "ada@example.com"},
		"angle brackets around":             {"<ada@example.com>", "ada@example.com"},
		"quotes around":                     {"'ada@example.com'", "ada@example.com"},
		"marks of writing direction":        {"\u202aada@example.com\u202c", "ada@example.com"},
		"a zero-width space":                {"ada@example.com\u200b", "ada@example.com"},
		"a byte-order mark":                 {"\ufeffada@example.com", "ada@example.com"},
		"full-width letters":                {"\uff41\uff44\uff41\uff20example.com", "ada@example.com"},
		"a no-break space around":           {"\u00a0ada@example.com\u00a0", "ada@example.com"},
		"a blank within":                    {"ada lovelace@example.com", ""},
		"a control character":               {"ada\x00@example.com", ""},
		"invalid UTF-8":                     {"ada\xff@example.com", ""},
		"longer than a mail server accepts": {strings.Repeat("a", 250) + "@example.com", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := phone.Email(tt.raw)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want != "", ok)
		})
	}
}

func TestVariants(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ number, want string }{
		"a Mexican number without the 1":             {"+525512345678", "+5215512345678"},
		"a Mexican number with the 1":                {"+5215512345678", "+525512345678"},
		"an Argentine number without the 9":          {"+541123456789", "+5491123456789"},
		"an Argentine number with the 9":             {"+5491123456789", "+541123456789"},
		"a Brazilian mobile without the ninth digit": {"+551187654321", "+5511987654321"},
		"a Brazilian mobile with the ninth digit":    {"+5511987654321", "+551187654321"},
		"an Italian number without the zero":         {"+39612345678", "+390612345678"},
		"an Italian number with the zero":            {"+390612345678", "+39612345678"},
		"a number of Benin from before 2024":         {"+22997123456", "+2290197123456"},
		"a number of Benin":                          {"+2290197123456", "+22997123456"},
		"a Brazilian fixed line":                     {"+551132123456", ""},
		"an Italian mobile":                          {"+393123456789", ""},
		"an American number":                         {"+12055550142", ""},
		"a Mexican number of another length":         {"+52551234567", ""},
		"a Brazilian number of another length":       {"+5511", ""},
		"a country code alone":                       {"+52", ""},
		"nothing":                                    {"", ""},
	} {
		var want []string
		if tt.want != "" {
			want = []string{tt.want}
			assert.Equal(t, []string{tt.number}, phone.Variants(tt.want), name+", and back")
		}
		assert.Equal(t, want, phone.Variants(tt.number), name)
	}
}

func TestUnusable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ raw, says string }{
		"a usable one says nothing": {"+12055550142", ""},
		"a word":                    {"undefined", "no digits"},
		"nothing":                   {"", "no digits"},
		"an id":                     {"ocQHyuzHvysMo5N5VsXc", "too few digits"},
		"no area code":              {"555-0142", "too few digits"},
		"no country":                {"99999999999999", "too many digits"},
		"too long":                  {"+1 205 555 0142 555 0142", "too many digits"},
		"nines":                     {"+1 999 999 9999", "repeats a single digit"},
	} {
		got := phone.Unusable(tt.raw, "US")
		assert.Contains(t, got, tt.says, name)
		assert.Equal(t, tt.says == "", got == "", name)
	}
}

func TestInvisibleCharactersAreThoseOfTheWholeProgram(t *testing.T) {
	t.Parallel()
	finder := phone.NewFinder("+12055550142")
	tried := 0
	for r := range rune(unicode.MaxRune) {
		if !event.IsInvisible(r) || unicode.IsSpace(r) || r > 0xe0200 { // Line separators are blanks; the rest is not assigned.
			continue
		}
		tried++
		typed := "+1 205" + string(r) + " 5550142"
		number, _ := phone.E164(typed, "")
		assert.Equal(t, "+12055550142", number, "%U", r)
		assert.True(t, finder.In(typed), "%U", r)
		address, _ := phone.Email("a" + string(r) + "da@example.com")
		assert.Equal(t, "ada@example.com", address, "%U", r)
		assert.True(t, phone.EmailIn("to a"+string(r)+"da@example.com", "ada@example.com"), "%U", r)
	}
	assert.Greater(t, tried, 100)
	for _, separator := range []string{"\u2028", "\u2029", "\u0085", "\u3000"} {
		assert.Equal(t, []string{"+12055550142", "+12055550143"}, phone.Numbers("+12055550142"+separator+"+12055550143", ""), "%q", separator)
	}
}
