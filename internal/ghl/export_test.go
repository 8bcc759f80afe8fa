package ghl

// NewVerifierWithPublishedKey is NewVerifier with another key in place of GoHighLevel's.
var NewVerifierWithPublishedKey = newVerifier

// Sources returns where the bodies of all rules were seen.
func Sources() []string {
	var sources []string
	for _, rules := range [][]rule[string]{contactIDRules, appointmentIDRules, otherIDRules, statusRules, locationIDRules, dedupeRules} {
		for _, r := range rules {
			sources = append(sources, r.source)
		}
	}
	for _, r := range typeRules {
		sources = append(sources, r.source)
	}
	for _, r := range occurredAtRules {
		sources = append(sources, r.source)
	}
	return sources
}
