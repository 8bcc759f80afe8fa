package aloware_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/aloware"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

func TestRefusalNamesOnlyFields(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		want string
	}{
		"the keys of errors": {
			`{"message":"The given data was invalid.","errors":{"phone_number":["+12025550142 is invalid."],"email":["ann@example.com is taken."]}}`,
			": it refuses the fields email, phone_number",
		},
		"a list of objects":                             {`{"errors":[{"field":"email","message":"ann@example.com is taken"},{"field":"email"},{"field":"timezone"}]}`, ": it refuses the fields email, timezone"},
		"the keys of error":                             {`{"error":{"phone_number":"is invalid"}}`, ": it refuses the fields phone_number"},
		"the keys of message":                           {`{"message":{"contacts.0.phone_number":["is invalid"]}}`, ": it refuses the fields contacts.0.phone_number"},
		"the first eight of ten":                        {`{"errors":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1}}`, ": it refuses the fields a, b, c, d, e, f, g, h and 2 more"},
		"not a sentence":                                {`{"error":"Phone number +12025550142 is invalid."}`, ""},
		"not a list of sentences":                       {`{"errors":["+12025550142 is invalid.","ann@example.com"]}`, ""},
		"not keys that may be personal data":            {`{"errors":{"+12025550142":["x"],"12025550142":["x"],"p12025550142":["x"],"ann@example.com":["x"],"Ann Example":["x"],"":["x"]}}`, ""},
		"not values of field that may be personal data": {`{"errors":[{"field":"ann@example.com"},{"field":"(202) 555-0142"},{"field":{"email":1}},null,1]}`, ""},
		"not a name that is too long":                   {`{"errors":{"a234567890b234567890c234567890d234567890e":["x"]}}`, ""},
		"not a name with a line break":                  {`{"errors":{"email\nx":["x"]}}`, ""},
		"nothing from a body that is not JSON":          {`email`, ""},
		"nothing from a list of names":                  {`["email"]`, ""},
		"nothing from an empty body":                    {``, ""},
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
