package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/test/bench/stats"
)

// key says what a figure is of.
type key struct{ measure, system string }

// record has the figures of a row, one for each repetition.
type record map[key][]float64

func (r record) add(measure, system string, value float64) {
	k := key{measure, system}
	r[k] = append(r[k], value)
}

func (r record) addDuration(measure, system string, value time.Duration) {
	r.add(measure, system, float64(value)/float64(time.Millisecond))
}

// cell shows a figure as "median (least–most)"; an en dash where there is none.
func (r record) cell(measure, system string) string {
	values := r[key{measure, system}]
	if len(values) == 0 {
		return "–"
	}
	s := stats.Summarise(values)
	if s.Count == 1 {
		return figure(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.Median), figure(s.Min), figure(s.Max))
}

// ratio is the median of a system's figures, each divided by its peer's of the same repetition; NaN where there are none.
func (r record) ratio(measure, system, peer string) float64 {
	return r.ratioTo(measure, system, measure, peer)
}

// ratioTo is the same with another figure of the peer's.
func (r record) ratioTo(measure, system, peerMeasure, peer string) float64 {
	ratios := stats.Ratios(r[key{measure, system}], r[key{peerMeasure, peer}])
	if len(ratios) == 0 {
		return math.NaN()
	}
	return stats.Summarise(ratios).Median
}

// median is NaN where there is none.
func (r record) median(measure, system string) float64 {
	values := r[key{measure, system}]
	if len(values) == 0 {
		return math.NaN()
	}
	return stats.Summarise(values).Median
}

// figure writes a number with three digits that count, and with commas between thousands.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v >= 100:
		return thousands(int64(math.Round(v)))
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var out strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(digit)
	}
	return out.String()
}

// aim is a comparison that the project holds itself to.
type aim struct {
	text string
	// got is what was measured, and reached whether that will do. NaN is neither.
	got     float64
	unit    string
	reached bool
}

// atLeast and atMost make aims: that a ratio is so much at least, and a figure so much at most.
func atLeast(text string, got, want float64) aim {
	return aim{text, got, " ×", got >= want}
}

func atMost(text string, got, want float64, unit string) aim {
	return aim{text, got, unit, got <= want}
}

func (a aim) String() string {
	verdict := "missed"
	switch {
	case math.IsNaN(a.got):
		return fmt.Sprintf("- %s: not measured.", a.text)
	case a.reached:
		verdict = "reached"
	}
	return fmt.Sprintf("- %s: %s, with %s%s.", a.text, verdict, figure(a.got), a.unit)
}

// table shows measures in lines and systems in columns.
func (r record) table(systems []string, measures ...string) string {
	var out strings.Builder
	out.WriteString("| |")
	for _, system := range systems {
		fmt.Fprintf(&out, " %s |", system)
	}
	out.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(systems)) + "\n")
	for _, measure := range measures {
		fmt.Fprintf(&out, "| %s |", measure)
		for _, system := range systems {
			fmt.Fprintf(&out, " %s |", r.cell(measure, system))
		}
		out.WriteByte('\n')
	}
	return out.String()
}
