package phone_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

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
		"one digit repeated, where it is in use":     {"+44 7777 777777", "US", "+447777777777"},

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
		"a country code that nobody has":      {"+999 205 555 0142", "US", ""},
		"two numbers":                         {"+1 (205) 555-0142 / (205) 555-0143", "US", ""},
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
		"a domain that ends with a dot":     {"ada@example.com.", ""},
		"two dots in a row":                 {"ada@example..com", ""},
		"two at signs":                      {"ada@lovelace@example.com", ""},
		"two addresses":                     {"ada@example.com, bob@example.com", ""},
		"two addresses without a blank":     {"ada@example.com;bob@example.com", ""},
		"a display name":                    {"Ada <ada@example.com>", ""},
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
