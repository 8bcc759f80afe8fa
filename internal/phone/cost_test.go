package phone_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dfmiddleware/verity-sync/internal/phone"
)

// costly are texts of the maximum length, 256 bytes, that take the most steps: many candidates, each parsed several times, and much
// backtracking.
func costly() map[string]string {
	fill := func(s string) string { return strings.Repeat(s, 256/len(s)) }
	return map[string]string{
		"numbers with commas":     fill("5550142,"),
		"numbers with plus signs": fill("+1205555"),
		"plus signs":              fill("+"),
		"digits":                  fill("0123456789"),
		"one digit":               fill("1"),
		"words of digits":         fill("5550142 "),
		"slashes":                 fill("030/5550142/"),
		"extensions":              fill("5550142 x1 "),
		"labels":                  fill("tel 5550142 "),
		"fax":                     fill("fax 5550142 "),
		"brackets":                fill("(1"),
		"dashes":                  fill("1-"),
		"blanks":                  "1" + strings.Repeat(" ", 254) + "1",
		"full-width digits":       fill("０"),
		"other digits":            fill("٣"),
		"zeros":                   fill("00"),
		"or":                      fill("1 or "),
		"Argentina's mobiles":     fill("+5491155501"),
		"Mexico's mobiles":        fill("+52155501420 "),
	}
}

// TestParsingAPhoneNumberIsCheap measures the steps by the allocations, which do not depend on the load of the machine.
func TestParsingAPhoneNumberIsCheap(t *testing.T) {
	const bound = 8_000
	for name, text := range costly() {
		for _, region := range []string{"US", "DE", ""} {
			allocations := testing.AllocsPerRun(3, func() { phone.E164(text, region) })
			assert.Less(t, allocations, float64(bound), "%s in %q", name, region)
			began := time.Now()
			phone.E164(text, region)
			phone.Unusable(text, region)
			assert.Less(t, time.Since(began), time.Second, "%s in %q: it takes 2 ms at most", name, region)
			longer := strings.Repeat(text, 4096)
			reads := testing.AllocsPerRun(3, func() { phone.E164(longer, region); phone.Email(longer) })
			assert.Less(t, reads, 10.0, "%s: a megabyte is not read", name)
		}
	}
}

func BenchmarkE164Costly(b *testing.B) {
	for name, text := range costly() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				phone.E164(text, "US")
			}
		})
	}
}
