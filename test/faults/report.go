package faults

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// report returns a table of what each kind of fault led to, in Markdown. A violation counts for every fault during which its event was
// in progress.
func report(h *History, violations []Violation) string {
	kinds := map[string][]*Fault{}
	var names []string
	for i := range h.Faults {
		f := &h.Faults[i]
		if f.Aftermath {
			continue
		}
		if kinds[f.Kind] == nil {
			names = append(names, f.Kind)
		}
		kinds[f.Kind] = append(kinds[f.Kind], f)
	}
	slices.Sort(names)
	var table strings.Builder
	table.WriteString("| fault | times | lost | repeated | sent again, same key | recovery, median | recovery, maximum |\n")
	table.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, name := range names {
		faults := kinds[name]
		var took []time.Duration
		again := 0
		for _, f := range faults {
			if !f.Recovered.IsZero() {
				took = append(took, f.Recovered.Sub(f.End))
			}
			again += h.sentAgain(f)
		}
		median, most := "–", "–"
		if slices.Sort(took); len(took) > 0 {
			median, most = seconds(took[len(took)/2]), seconds(took[len(took)-1])
		}
		fmt.Fprintf(&table, "| %s | %d | %d | %d | %d | %s | %s |\n", name, len(faults), h.attributed(violations, 1, faults),
			h.attributed(violations, 2, faults), again, median, most)
	}
	return table.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// sentAgain returns how many webhooks Verity was sent again during a fault though it had taken them, or may have: the answer was lost.
func (h *History) sentAgain(f *Fault) int {
	taken, again := map[string]bool{}, 0
	for _, c := range h.Calls {
		if c.Destination != DestinationVerity {
			continue
		}
		if taken[c.Key] && f.overlaps(c.Start, c.Start) {
			again++
		}
		taken[c.Key] = taken[c.Key] || c.Status == 0 || c.Status >= 200 && c.Status < 300
	}
	return again
}

// attributed returns how many violations of an invariant are about events that were in progress during one of the faults.
func (h *History) attributed(violations []Violation, invariant int, faults []*Fault) (n int) {
	for _, v := range violations {
		if v.Invariant != invariant {
			continue
		}
		for _, p := range h.Posts {
			if (p.ID == v.Event || p.Webhook == v.Event) && slices.ContainsFunc(faults, func(f *Fault) bool {
				return f.overlaps(p.Start, p.End.Add(recordTimeout))
			}) {
				n++
				break
			}
		}
	}
	return n
}

// summary describes the run in a sentence.
func (h *History) summary() string {
	acknowledged, faults := map[string]bool{}, 0
	refused, unanswered := 0, 0
	for _, p := range h.Posts {
		switch p.Status {
		case http.StatusOK:
			acknowledged[p.Webhook] = true
		case 0:
			unanswered++
		default:
			refused++
		}
	}
	for _, f := range h.Faults {
		if !f.Aftermath {
			faults++
		}
	}
	return fmt.Sprintf("Seed %d: %d webhooks in %d deliveries, of which %d were answered 429 and %d were not answered; "+
		"%d acknowledged, %d rows; %d calls to Verity and Aloware; %d faults.",
		h.Seed, len(h.Webhooks), len(h.Posts), refused, unanswered, len(acknowledged), len(h.Rows), len(h.Calls), faults)
}
