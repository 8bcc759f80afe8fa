package phone_test

import (
	"regexp"
	"testing"

	"github.com/dfmiddleware/verity-sync/internal/phone"
)

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// FuzzE164 checks that every result is E.164 and its own normal form in any region: two systems that normalise the same number agree.
func FuzzE164(f *testing.F) {
	f.Add("(205) 555-0142", "US")
	f.Add("+20 12 00000198", "")
	f.Fuzz(func(t *testing.T, raw, region string) {
		got, ok := phone.E164(raw, region)
		if !ok {
			if got != "" {
				t.Fatalf("refused %q in %q, but returned %q", raw, region, got)
			}
			return
		}
		if !e164.MatchString(got) {
			t.Fatalf("%q in %q became %q", raw, region, got)
		}
		for _, other := range []string{region, "", "US", "GB", "BR"} {
			if again, ok := phone.E164(got, other); !ok || again != got {
				t.Fatalf("%q in %q became %q, and that in %q became %q", raw, region, got, other, again)
			}
		}
	})
}

// FuzzEmail checks that a normalised address is its own normal form.
func FuzzEmail(f *testing.F) {
	f.Add(" Ada@Example.com ")
	f.Fuzz(func(t *testing.T, raw string) {
		got, ok := phone.Email(raw)
		if !ok {
			if got != "" {
				t.Fatalf("refused %q, but returned %q", raw, got)
			}
			return
		}
		if again, ok := phone.Email(got); !ok || again != got {
			t.Fatalf("%q became %q, and that became %q", raw, got, again)
		}
	})
}

// FuzzVariants checks that the variant of a variant is the number, and that a number and its variants differ.
func FuzzVariants(f *testing.F) {
	f.Add("+52 1 55 1234 5678", "MX")
	f.Add("+55 11 98765-4321", "BR")
	f.Fuzz(func(t *testing.T, raw, region string) {
		number, ok := phone.E164(raw, region)
		if ok != (phone.Unusable(raw, region) == "") {
			t.Fatalf("E164 finds %q in %q, and Unusable says otherwise", number, raw)
		}
		for _, variant := range phone.Variants(number) {
			back := phone.Variants(variant)
			if len(back) != 1 || back[0] != number {
				t.Fatalf("%q is also written %q, and that %q", number, variant, back)
			}
		}
	})
}
