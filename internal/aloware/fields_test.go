package aloware_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

func TestARefusalNamesTheFieldsAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want string
	}{
		"by their messages": {
			`{"message":"The given data was invalid.","errors":{"phone_number":["+12025550142 is invalid."],"email":["ann@example.com is taken."]}}`,
			": it refuses the fields email, phone_number",
		},
		"in a list":             {`{"errors":[{"field":"email","message":"ann@example.com is taken"},{"field":"email"},{"field":"timezone"}]}`, ": it refuses the fields email, timezone"},
		"under error":           {`{"error":{"phone_number":"is invalid"}}`, ": it refuses the fields phone_number"},
		"under message":         {`{"message":{"contacts.0.phone_number":["is invalid"]}}`, ": it refuses the fields contacts.0.phone_number"},
		"a few of many":         {`{"errors":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1}}`, ": it refuses the fields a, b, c, d, e, f, g, h and 2 more"},
		"none in words":         {`{"error":"Phone number +12025550142 is invalid."}`, ""},
		"none in a list":        {`{"errors":["+12025550142 is invalid.","ann@example.com"]}`, ""},
		"no values for names":   {`{"errors":{"+12025550142":["x"],"12025550142":["x"],"p12025550142":["x"],"ann@example.com":["x"],"Ann Example":["x"],"":["x"]}}`, ""},
		"no values for a field": {`{"errors":[{"field":"ann@example.com"},{"field":"(202) 555-0142"},{"field":{"email":1}},null,1]}`, ""},
		"no long ones":          {`{"errors":{"a234567890b234567890c234567890d234567890e":["x"]}}`, ""},
		"no line breaks":        {`{"errors":{"email\nx":["x"]}}`, ""},
		"no JSON":               {`email`, ""},
		"no object":             {`["email"]`, ""},
		"nothing":               {``, ""},
	} {
		for code, status := range map[int]string{400: " (400)", 422: " (422)"} {
			t.Run(name+status, func(t *testing.T) {
				t.Parallel()
				b := start(t)
				require.NoError(t, b.sim.Faults.Add(fault.JSON(code, test.body)))
				_, err := b.Sync(t.Context(), ann)
				require.ErrorIs(t, err, aloware.ErrValidation)
				assert.Equal(t, "aloware: the request was refused as invalid"+status+test.want, err.Error())
			})
		}
	}
}
