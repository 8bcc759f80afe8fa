// Package advice follows what findings of a preflight advise, so that tests can show that it helps.
package advice

import (
	"net/url"
	"regexp"
	"strings"
)

var statement = regexp.MustCompile(`(?:ALTER|GRANT|CREATE) .*?(?:$|; |, (?:or,?|and|where|since|during|as|run) | and | or )`)

var separator = regexp.MustCompile(`(?:; |, (?:or,?|and|where|since|during|as|run) | and | or )$`)

// Statements returns the SQL statements in an action, in their order.
func Statements(action string) (statements []string) {
	for _, s := range statement.FindAllString(action, -1) {
		statements = append(statements, strings.TrimSuffix(separator.ReplaceAllString(s, ""), ", run"))
	}
	return statements
}

var (
	removed = regexp.MustCompile(`(?:remove|replace) (\w+) (?:from|in) (options in )?the URL`)
	added   = regexp.MustCompile(`(?:set|add|by) (\w+=[^ ]+?)(?: in the URL| to the URL|$)`)
)

// URL returns databaseURL as an action would have it.
func URL(databaseURL, action string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return databaseURL
	}
	query := u.Query()
	for _, match := range removed.FindAllStringSubmatch(action, -1) {
		if match[2] == "" {
			query.Del(match[1])
			continue
		}
		option := regexp.MustCompile(`(?:-c\s*|--)` + match[1] + `=(?:\\.|\S)*`)
		query.Set("options", strings.TrimSpace(option.ReplaceAllString(query.Get("options"), "")))
		if query.Get("options") == "" {
			query.Del("options")
		}
	}
	for _, match := range added.FindAllStringSubmatch(action, -1) {
		name, value, _ := strings.Cut(match[1], "=")
		if plain, err := url.QueryUnescape(value); err == nil {
			query.Set(name, plain)
		}
	}
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}
