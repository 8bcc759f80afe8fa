package phone

import "strings"

// variant is a rule for lines that have two forms in E.164. Both are in use.
type variant struct {
	// country is the country code with its plus sign.
	country string
	// of returns the other form of the national part, "" if there is none.
	of func(national string) string
}

// variants are the known rules. Each names its source.
var variants = []variant{
	// Mexico dropped the 1 before mobile numbers in August 2019 (IFT, numbering plan); address books keep it.
	{"+52", func(n string) string { return infix(n, "", "1", 10) }},
	// Argentina: a 9 before mobile numbers when dialled from abroad (ITU-T E.164, national numbering plan of Argentina).
	{"+54", func(n string) string { return infix(n, "", "9", 10) }},
	// Brazil added a 9 to mobile numbers after the area code of two digits, from 2012 to 2016 (Anatel, resolution 553). Numbers
	// of eight digits that begin with 6 to 9 were mobile.
	{"+55", func(n string) string {
		if len(n) == 10 && n[2] < '6' {
			return ""
		}
		return infix(n, n[:min(2, len(n))], "9", 10)
	}},
	// Italy, San Marino and the Vatican: the zero of the area code belongs to the number (since 1998) and is often dropped. Mobile
	// numbers begin with 3 and have none.
	{"+39", func(n string) string {
		switch {
		case strings.HasPrefix(n, "0"):
			return n[1:]
		case strings.HasPrefix(n, "3"):
			return ""
		default:
			return "0" + n
		}
	}},
	// Benin put 01 before all numbers in November 2024 (ARCEP Benin).
	{"+229", func(n string) string { return infix(n, "", "01", 8) }},
}

// Variants returns the other E.164 forms of a number in E.164 form. Systems that imported the number at another time may have one of them.
func Variants(number string) []string {
	for _, v := range variants {
		national, ok := strings.CutPrefix(number, v.country)
		if !ok || national == "" {
			continue
		}
		if other := v.of(national); other != "" && len(other) < maxLength {
			return []string{v.country + other}
		}
		return nil
	}
	return nil
}

// infix removes the inserted digits after the prefix, or inserts them if the number has the length without them. It returns "" for any
// other length.
func infix(national, prefix, inserted string, length int) string {
	rest, _ := strings.CutPrefix(national, prefix)
	switch {
	case len(national) == length:
		return prefix + inserted + rest
	case len(national) == length+len(inserted) && strings.HasPrefix(rest, inserted):
		return prefix + strings.TrimPrefix(rest, inserted)
	default:
		return ""
	}
}
