package main

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"
)

// A glossary has the phrases that texts must not have, and what to write instead.
type glossary struct {
	// instead has the second column of the table, by the phrase in lower case with single spaces.
	instead map[string]string
	// phrases matches every phrase, the longest first.
	phrases *regexp.Regexp
}

var codeSpan = regexp.MustCompile("`([^`\n]+)`")

// parseGlossary reads the table whose head is "| not | but |". The phrases that the check looks for are the code spans of the first column;
// the rest of that column is for readers.
func parseGlossary(markdown string) (*glossary, error) {
	_, table, found := strings.Cut(markdown, "\n| not | but |\n")
	if !found {
		return nil, errors.New(`find the glossary: there is no table with the head "| not | but |"`)
	}
	g := &glossary{instead: map[string]string{}}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) == 1 {
			break
		}
		if len(cells) != 4 {
			return nil, errors.New("read the glossary: a row has more or fewer than two columns: " + line)
		}
		for _, phrase := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
			g.instead[normalize(phrase[1])] = strings.TrimSpace(cells[2])
		}
	}
	if len(g.instead) == 0 {
		return nil, errors.New("read the glossary: no phrase is marked as code")
	}
	var alternatives []string
	for phrase := range g.instead {
		alternatives = append(alternatives, strings.ReplaceAll(regexp.QuoteMeta(phrase), " ", `\s+`))
	}
	slices.SortFunc(alternatives, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var err error
	g.phrases, err = regexp.Compile("(?i)" + strings.Join(alternatives, "|"))
	return g, err
}

func normalize(phrase string) string {
	return strings.ToLower(strings.Join(strings.Fields(phrase), " "))
}

// A match is a phrase of the glossary in a text.
type match struct {
	offset          int
	phrase, instead string
}

// find returns the phrases in a text. A phrase is made of whole words in lower case; only the start of a sentence has a capital letter, so
// that "a queue in Go on Postgres" has none. A word in quotation marks is not one, nor is a part of a path, a file's name or an identifier,
// such as "predecessor-test.json".
func (g *glossary) find(text string) []match {
	var matches []match
	for start := 0; start < len(text); {
		at := g.phrases.FindStringIndex(text[start:])
		if at == nil {
			break
		}
		begin, end := start+at[0], start+at[1]
		before := text[:begin]
		if wordBefore.MatchString(before) || wordAfter.MatchString(text[end:]) || quoted(before, text[end:]) ||
			!inSentence(before, text[begin:end]) {
			start = begin + 1
			continue
		}
		phrase := normalize(text[begin:end])
		matches = append(matches, match{begin, phrase, g.instead[phrase]})
		start = end
	}
	return matches
}

var (
	wordBefore  = regexp.MustCompile(`[\w/.$-]$`)
	wordAfter   = regexp.MustCompile(`^([\w/-]|\.\w)`)
	sentenceEnd = regexp.MustCompile(`(^|[^\w\s,;])\s*$|\n\s*\n\s*$`)
)

// quoted reports whether a phrase is the whole of a quotation, as in: the user "nobody".
func quoted(before, after string) bool {
	return before != "" && after != "" && before[len(before)-1] == after[0] && strings.ContainsRune("\"'`", rune(after[0]))
}

// inSentence reports whether a phrase has the capital letters that its place in a sentence asks for.
func inSentence(before, phrase string) bool {
	first, rest := phrase[:1], phrase[1:]
	return rest == strings.ToLower(rest) && (first == strings.ToLower(first) || sentenceEnd.MatchString(before))
}
