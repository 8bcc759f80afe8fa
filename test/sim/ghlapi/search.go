package ghlapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// maxFilterValue is how long a filter's value may be, in characters.
const maxFilterValue = 75

// e164 is the only form in which a number is found. A plus sign that was not escaped arrives as a space.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// findDuplicate answers the contact with an e-mail, else the one with a number, else null. A location that allows no
// duplicates is searched by what tells its contacts apart, whatever else is given.
func (s *Server) findDuplicate(r *http.Request, locationID string) reply {
	query := r.URL.Query()
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains([]string{"locationId", "number", "email"}, name) {
			wrong = append(wrong, fmt.Sprintf("property %s should not exist", name))
		}
	}
	number, email := query.Get("number"), strings.ToLower(query.Get("email"))
	switch {
	case query.Get("locationId") == "":
		wrong = append(wrong, "locationId must be a string")
	case number == "" && email == "":
		wrong = append(wrong, "number or email should not be empty")
	case number != "" && !e164.MatchString(number):
		wrong = append(wrong, "number must be a valid phone number")
	}
	if len(wrong) > 0 {
		return invalid(wrong...)
	}
	if query.Get("locationId") != locationID {
		return wrongLocation
	}
	uniqueBy := s.locations[locationID].UniqueBy
	for _, fits := range []func(*contact) bool{
		func(c *contact) bool { return uniqueBy != "phone" && email != "" && strings.ToLower(c.Email) == email },
		func(c *contact) bool { return uniqueBy != "email" && number != "" && c.Phone == number },
	} {
		for _, id := range slices.Sorted(maps.Keys(s.contacts)) {
			if c := s.contacts[id]; c.LocationID == locationID && fits(c) {
				return success(map[string]any{"contact": view(c.Contact)})
			}
		}
	}
	return success(map[string]any{"contact": nil})
}

// filter is a condition, or a group of them.
type filter struct {
	Field    string   `json:"field"`
	Operator string   `json:"operator"`
	Value    string   `json:"value"`
	Group    string   `json:"group"`
	Filters  []filter `json:"filters"`
}

// searchFields are the fields that can be filtered by, as far as the simulator knows them.
var searchFields = map[string]func(*Contact) string{
	"id":                 func(c *Contact) string { return c.ID },
	"email":              func(c *Contact) string { return c.Email },
	"phone":              func(c *Contact) string { return c.Phone },
	"firstNameLowerCase": func(c *Contact) string { return strings.ToLower(c.FirstName) },
	"lastNameLowerCase":  func(c *Contact) string { return strings.ToLower(c.LastName) },
}

func (f *filter) wrong() []string {
	if f.Group != "" {
		if f.Group != "AND" && f.Group != "OR" || len(f.Filters) == 0 {
			return []string{"group must be one of the following values: AND, OR"}
		}
		return wrongFilters(f.Filters)
	}
	var wrong []string
	if _, ok := searchFields[f.Field]; !ok {
		wrong = append(wrong, fmt.Sprintf("Invalid field %s", f.Field))
	}
	needsValue := true
	switch f.Operator {
	case "eq", "not_eq", "contains", "not_contains":
	case "exists", "not_exists":
		needsValue = false
	default:
		wrong = append(wrong, fmt.Sprintf("Invalid operator %s", f.Operator))
	}
	if needsValue != (f.Value != "") || len([]rune(f.Value)) > maxFilterValue {
		wrong = append(wrong, fmt.Sprintf("Invalid value for field %s", f.Field))
	}
	return wrong
}

func wrongFilters(filters []filter) []string {
	var wrong []string
	for i := range filters {
		wrong = append(wrong, filters[i].wrong()...)
	}
	return wrong
}

func (f *filter) fits(c *Contact) bool {
	switch f.Group {
	case "OR":
		return slices.ContainsFunc(f.Filters, func(f filter) bool { return f.fits(c) })
	case "AND":
		return !slices.ContainsFunc(f.Filters, func(f filter) bool { return !f.fits(c) })
	}
	have := strings.ToLower(searchFields[f.Field](c))
	want := strings.ToLower(f.Value)
	switch f.Operator {
	case "eq":
		return have == want
	case "not_eq":
		return have != want
	case "contains":
		return strings.Contains(have, want)
	case "not_contains":
		return !strings.Contains(have, want)
	case "exists":
		return have != ""
	default:
		return have == ""
	}
}

func (s *Server) searchContacts(r *http.Request, locationID string) reply {
	body := struct {
		LocationID string   `json:"locationId"`
		Page       int      `json:"page"`
		PageLimit  int      `json:"pageLimit"`
		Filters    []filter `json:"filters"`
	}{Page: 1}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		return refuse(http.StatusBadRequest, "Invalid request body")
	}
	wrong := wrongFilters(body.Filters)
	if body.LocationID == "" {
		wrong = append(wrong, "locationId must be a string")
	}
	if body.PageLimit < 1 || body.PageLimit > 500 {
		wrong = append(wrong, "pageLimit must not be less than 1", "pageLimit must not be greater than 500")
	}
	if body.Page < 1 {
		wrong = append(wrong, "page must not be less than 1")
	}
	if len(wrong) > 0 {
		return invalid(wrong...)
	}
	if body.LocationID != locationID {
		return wrongLocation
	}
	all := filter{Group: "AND", Filters: body.Filters}
	found := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.contacts)) {
		if c := s.contacts[id].seenBySearch(s.now()); c != nil && c.LocationID == locationID && all.fits(c) {
			found = append(found, view(*c))
		}
	}
	from := min((body.Page-1)*body.PageLimit, len(found))
	to := min(from+body.PageLimit, len(found))
	return success(map[string]any{"contacts": found[from:to], "total": len(found)})
}
