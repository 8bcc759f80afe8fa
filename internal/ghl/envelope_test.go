package ghl_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// TestGHLsKeyCountsForItsEnvelopeAlone has bodies that GoHighLevel could sign for a customer who chooses names and values of fields. Only
// loc-1 is configured.
func TestGHLsKeyCountsForItsEnvelopeAlone(t *testing.T) {
	t.Parallel()
	const contact = `"type":"ContactUpdate","id":"c"`
	for name, test := range map[string]struct {
		body string
		want error
	}{
		"a contact":                              {`{` + contact + `,"locationId":"loc-1"}`, nil},
		"white space between tokens":             {" {\n\t\"type\" : \"ContactUpdate\" , \"locationId\" :\t\"loc-1\" }\r\n", nil},
		"a byte-order mark":                      {bom + `{` + contact + `,"locationId":"loc-1"}`, nil},
		"an escaped key, which is the same key":  {`{` + contact + `,"\u006cocationId":"loc-1"}`, nil},
		"an escaped value, which is the same":    {`{` + contact + `,"locationId":"\u006coc-1"}`, nil},
		"an escaped key of another location":     {`{` + contact + `,"\u006cocationId":"loc-3"}`, ghl.ErrLocationIgnored},
		"the same location in every member":      {`{"type":"OrderCreate","_id":"o","altId":"loc-1","altType":"location","locationId":"loc-1","contactSnapshot":{"id":"c","locationId":"loc-1"}}`, nil},
		"an address called location":             {`{` + contact + `,"locationId":"loc-1","location":"Room 5"}`, nil},
		"a location block without an id":         {`{` + contact + `,"locationId":"loc-1","location":{"name":"Room 5"}}`, nil},
		"members of a workflow that are null":    {`{` + contact + `,"locationId":"loc-1","customData":null,"workflow":null}`, nil},
		"a null member":                          {`{` + contact + `,"locationId":"loc-1","altId":null}`, nil},
		"the names in an array of custom fields": {`{` + contact + `,"locationId":"loc-1","customFields":[{"locationId":"loc-3","locationId":"loc-4"}]}`, nil},
		"a key in another case, which is no key": {`{` + contact + `,"locationId":"loc-1","LocationID":"loc-3"}`, nil},
		"only a key in another case":             {`{` + contact + `,"LocationId":"loc-1"}`, ghl.ErrLocationIgnored},
		"a padded value":                         {`{` + contact + `,"locationId":" loc-1"}`, ghl.ErrLocationIgnored},
		"an invisible character in the value":    {`{` + contact + `,"locationId":"loc-1\u200b"}`, ghl.ErrLocationIgnored},

		"a key with a leading blank":           {`{` + contact + `," locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a key with a trailing tab":            {`{` + contact + `,"locationId\t":"loc-1"}`, ghl.ErrNotMarketplace},
		"a key with a no-break space":          {`{` + contact + `,"\u00a0locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a padded key beside the right one":    {`{` + contact + `,"locationId":"loc-1"," locationId":"loc-3"}`, ghl.ErrNotMarketplace},
		"a padded key of another id":           {`{"type":"ContactUpdate"," id":"c","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a key twice":                          {`{` + contact + `,"locationId":"loc-3","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a key twice with the same value":      {`{` + contact + `,"locationId":"loc-1","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a key twice, once escaped":            {`{` + contact + `,"location\u0049d":"loc-3","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a type twice":                         {`{"type":"LocationUpdate","type":"ContactUpdate","id":"loc-1","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a location in an array":               {`{` + contact + `,"locationId":["loc-1"]}`, ghl.ErrNotMarketplace},
		"a location in an object":              {`{` + contact + `,"locationId":{"id":"loc-1"}}`, ghl.ErrNotMarketplace},
		"a location that is a number":          {`{` + contact + `,"locationId":1}`, ghl.ErrNotMarketplace},
		"a location that is true":              {`{` + contact + `,"locationId":true}`, ghl.ErrNotMarketplace},
		"a conflicting block":                  {`{` + contact + `,"locationId":"loc-1","location":{"id":"loc-3"}}`, ghl.ErrNotMarketplace},
		"a block alone":                        {`{` + contact + `,"location":{"id":"loc-1"}}`, ghl.ErrNotMarketplace},
		"a block with a padded id":             {`{` + contact + `,"locationId":"loc-1","location":{"id\t":"loc-3"}}`, ghl.ErrNotMarketplace},
		"customData":                           {`{` + contact + `,"customData":{"locationId":"loc-1"}}`, ghl.ErrNotMarketplace},
		"customData beside a location":         {`{` + contact + `,"locationId":"loc-1","customData":{"locationId":"loc-3"}}`, ghl.ErrNotMarketplace},
		"customData that is empty":             {`{` + contact + `,"locationId":"loc-1","customData":{}}`, ghl.ErrNotMarketplace},
		"customData with a padded key":         {`{` + contact + `,"locationId":"loc-1","customData ":{}}`, ghl.ErrNotMarketplace},
		"a location's type in customData":      {`{"locationId":"loc-1","customData":{"type":"LocationUpdate","id":"loc-3"}}`, ghl.ErrNotMarketplace},
		"a workflow":                           {`{"contact_id":"c","workflow":{"id":"w"},"locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a workflow's name alone":              {`{"workflow":"w","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a calendar block":                     {`{"calendar":{"appointmentId":"a"},"locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"trigger data":                         {`{"triggerData":{},"locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a contact of a workflow":              {`{"contact_id":"c","locationId":"loc-1"}`, ghl.ErrNotMarketplace},
		"a location of a workflow":             {`{"location_id":"loc-1"}`, ghl.ErrNotMarketplace},
		"a contact snapshot with a key twice":  {`{"contactSnapshot":{"locationId":"loc-3","locationId":"loc-1"}}`, ghl.ErrNotMarketplace},
		"a contact snapshot with a padded key": {`{"contactSnapshot":{" locationId":"loc-1"}}`, ghl.ErrNotMarketplace},

		"two locations, of a snapshot":                {`{"locationId":"loc-1","contactSnapshot":{"locationId":"loc-3"}}`, ghl.ErrLocationIgnored},
		"two locations, the first not configured":     {`{"locationId":"loc-3","altId":"loc-1","altType":"location"}`, ghl.ErrLocationIgnored},
		"an altId of another type":                    {`{"altId":"loc-1","altType":"company"}`, ghl.ErrLocationIgnored},
		"an altId of a type in another case":          {`{"altId":"loc-1","altType":"Location"}`, ghl.ErrLocationIgnored},
		"a location's own event":                      {`{"type":"LocationCreate","id":"loc-1"}`, nil},
		"a location's own event, both ids":            {`{"type":"LocationUpdate","id":"loc-1","locationId":"loc-1"}`, nil},
		"a location's event about another":            {`{"type":"LocationUpdate","id":"loc-3","locationId":"loc-1"}`, ghl.ErrLocationIgnored},
		"a location's event by another name":          {`{"event":"LocationUpdate","id":"loc-1"}`, ghl.ErrLocationIgnored},
		"a location's event under another id":         {`{"type":"LocationUpdate","_id":"loc-1"}`, ghl.ErrLocationIgnored},
		"a location's type in another spelling":       {`{"type":"location.updated","id":"loc-1"}`, ghl.ErrLocationIgnored},
		"a contact that has the location's id":        {`{"type":"ContactUpdate","id":"loc-1"}`, ghl.ErrLocationIgnored},
		"a location in data":                          {`{"type":"ContactUpdate","data":{"locationId":"loc-1"}}`, ghl.ErrLocationIgnored},
		"a location in the appointment":               {`{"type":"AppointmentCreate","appointment":{"id":"a","locationId":"loc-1"}}`, ghl.ErrLocationIgnored},
		"another location that looks like it":         {`{` + contact + `,"locationId":"loc-1 "}`, ghl.ErrLocationIgnored},
		"another location in another case":            {`{` + contact + `,"locationId":"LOC-1"}`, ghl.ErrLocationIgnored},
		"nothing":                                     {`{}`, ghl.ErrLocationIgnored},
		"an empty location beside a configured altId": {`{"locationId":"","altId":"loc-1","altType":"location"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			v := verifier(t, ghl.AuthConfig{LocationIDs: []string{"loc-1"}})
			e := ghl.Normalise(body, received)
			require.ErrorIs(t, v.Authorize(ghl.ProofPublishedKey, body, e), test.want)
			if test.want == nil {
				assert.Contains(t, []string{e.LocationID, e.EntityID}, "loc-1", "the event is the configured location's")
			}
		})
	}
}

func TestAnAppIsTheEnvelopesAlone(t *testing.T) {
	t.Parallel()
	apps := ghl.AuthConfig{AppIDs: []string{"app-1"}}
	both := ghl.AuthConfig{AppIDs: []string{"app-1"}, LocationIDs: []string{"loc-1"}}
	for name, test := range map[string]struct {
		cfg  ghl.AuthConfig
		body string
		ok   bool
	}{
		"an app":                            {apps, `{"appId":"app-1","type":"INSTALL"}`, true},
		"an app at a location":              {both, `{"appId":"app-1","locationId":"loc-1"}`, true},
		"an escaped key":                    {apps, `{"app\u0049d":"app-1"}`, true},
		"an app in a workflow's body":       {apps, `{"appId":"app-1","contact_id":"c","workflow":{"id":"w"}}`, false},
		"an app beside a calendar":          {apps, `{"appId":"app-1","calendar":{"appointmentId":"a"}}`, false},
		"an app beside customData":          {apps, `{"appId":"app-1","customData":{}}`, false},
		"an app beside a location block":    {apps, `{"appId":"app-1","location":{"id":"loc-3"}}`, false},
		"an app beside trigger data":        {both, `{"appId":"app-1","locationId":"loc-1","triggerData":{}}`, false},
		"an app twice":                      {apps, `{"appId":"app-3","appId":"app-1"}`, false},
		"an app twice, the same":            {apps, `{"appId":"app-1","appId":"app-1"}`, false},
		"an app twice, once escaped":        {apps, `{"appId":"app-1","\u0061ppId":"app-3"}`, false},
		"an app under a padded key":         {apps, `{" appId":"app-1"}`, false},
		"an app under a key with a tab":     {apps, `{"appId\t":"app-1"}`, false},
		"an app in another case":            {apps, `{"AppID":"app-1"}`, false},
		"an app in an array":                {apps, `{"appId":["app-1"]}`, false},
		"a padded app":                      {apps, `{"appId":" app-1"}`, false},
		"an app with invisible letters":     {apps, `{"appId":"app\u200b-1"}`, false},
		"an app, and locations that differ": {apps, `{"appId":"app-1","locationId":"loc-1","altId":"loc-3","altType":"location"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			err = verifier(t, test.cfg).Authorize(ghl.ProofPublishedKey, body, ghl.Normalise(body, received))
			assert.Equal(t, test.ok, err == nil, "%v", err)
		})
	}
	t.Run("an app in a signed form", func(t *testing.T) {
		t.Parallel()
		body, err := ghl.Decode(formType, []byte("appId=app-1&locationId=loc-1"))
		require.NoError(t, err)
		for _, proof := range []ghl.Proof{ghl.ProofPublishedKey, ghl.ProofOwnKey} {
			require.ErrorIs(t, verifier(t, both).Authorize(proof, body, ghl.Normalise(body, received)), ghl.ErrAppNotAllowed)
		}
	})
	t.Run("an app in a workflow's body by an own key", func(t *testing.T) {
		t.Parallel()
		body, err := ghl.Decode(jsonType, []byte(`{"appId":"app-1","contact_id":"c"}`))
		require.NoError(t, err)
		require.ErrorIs(t, verifier(t, apps).Authorize(ghl.ProofOwnKey, body, ghl.Normalise(body, received)), ghl.ErrAppNotAllowed)
	})
}

// TestALocationsEventIsItsOwn uses a secret: then the author of a workflow may name the location.
func TestALocationsEventIsItsOwn(t *testing.T) {
	t.Parallel()
	v := verifier(t, ghl.AuthConfig{Secrets: []string{"s"}, LocationIDs: []string{"loc-1"}})
	for body, want := range map[string]error{
		`{"location":{"id":"loc-1"},"customData":{"type":"LocationUpdate","id":"loc-3"}}`: ghl.ErrLocationIgnored,
		`{"location":{"id":"loc-1"},"type":"LocationUpdate","id":"loc-3"}`:                ghl.ErrLocationIgnored,
		`{"customData":{"type":"LocationUpdate","id":"loc-1"}}`:                           nil,
	} {
		decoded, err := ghl.Decode(jsonType, []byte(body))
		require.NoError(t, err)
		require.ErrorIs(t, v.Authorize(ghl.ProofSecret, decoded, ghl.Normalise(decoded, received)), want, body)
	}
}

func TestADedupeKeyNeedsASignature(t *testing.T) {
	t.Parallel()
	private, public := key(t)
	const marketplace = `{"type":"ContactUpdate","id":"c","locationId":"l","webhookId":"w"}`
	const workflow = `{"contact_id":"c","webhookId":"w"}`
	for name, test := range map[string]struct {
		body   string
		proof  ghl.Proof
		signed bool
		want   string
	}{
		"GHL's key":                          {marketplace, ghl.ProofPublishedKey, true, "ghl:w"},
		"an own key":                         {marketplace, ghl.ProofOwnKey, true, "ghl:w"},
		"a secret":                           {marketplace, ghl.ProofSecret, false, ""},
		"a secret beside a signature":        {marketplace, ghl.ProofSecret, true, "ghl:w"},
		"nothing":                            {marketplace, ghl.ProofNone, false, ""},
		"a workflow's body with a secret":    {workflow, ghl.ProofSecret, false, ""},
		"a workflow's body that is signed":   {workflow, ghl.ProofOwnKey, true, ""},
		"a workflow's body with both":        {workflow, ghl.ProofSecret, true, ""},
		"a body without an id":               {`{"type":"ContactUpdate","id":"c"}`, ghl.ProofOwnKey, true, ""},
		"an id in customData":                {`{"customData":{"webhookId":"w"}}`, ghl.ProofOwnKey, true, ""},
		"an id beside customData":            {`{"webhookId":"w","customData":{"a":1}}`, ghl.ProofOwnKey, true, ""},
		"an id beside a location block":      {`{"webhookId":"w","location":{"id":"l"}}`, ghl.ProofOwnKey, true, ""},
		"an id beside a padded workflow key": {`{"webhookId":"w"," workflow":{"id":"x"}}`, ghl.ProofOwnKey, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := ghl.Decode(jsonType, []byte(test.body))
			require.NoError(t, err)
			v := verifier(t, ghl.AuthConfig{PublicKeys: []string{public}, Secrets: []string{"s"}})
			header := http.Header{}
			if test.signed {
				header.Set(ghl.HeaderSignature, base64.StdEncoding.EncodeToString(ed25519.Sign(private, []byte(test.body))))
			}
			request := ghl.Request{Header: header, Raw: []byte(test.body), Body: body}
			proof, e, err := v.Admit(test.proof, request, ghl.Normalise(body, time.Now()))
			require.NoError(t, err)
			assert.Equal(t, test.proof, proof)
			assert.Equal(t, test.want, e.DedupeKey)
		})
	}
	t.Run("a form", func(t *testing.T) {
		t.Parallel()
		const text = "type=ContactUpdate&id=c&webhookId=w"
		body, err := ghl.Decode(formType, []byte(text))
		require.NoError(t, err)
		v := verifier(t, ghl.AuthConfig{PublicKeys: []string{public}})
		_, e, err := v.Admit(ghl.ProofOwnKey, ghl.Request{Raw: []byte(text), Body: body}, ghl.Normalise(body, time.Now()))
		require.NoError(t, err)
		assert.Empty(t, e.DedupeKey)
	})
}

// TestASignedWorkflowNeedsASecret applies if GoHighLevel signs workflows' webhooks with its published key, too.
func TestASignedWorkflowNeedsASecret(t *testing.T) {
	t.Parallel()
	const workflow = `{"contact_id":"c","location":{"id":"loc-1"},"webhookId":"w","appId":"app-1"}`
	ghlKey, text := key(t)
	for name, test := range map[string]struct {
		cfg    ghl.AuthConfig
		secret string
		want   ghl.Proof
		err    error
	}{
		"a secret beside the signature":   {ghl.AuthConfig{LocationIDs: []string{"loc-1"}}, "s", ghl.ProofSecret, nil},
		"a secret where apps are listed":  {ghl.AuthConfig{AppIDs: []string{"app-1"}}, "s", ghl.ProofSecret, nil},
		"a secret at another location":    {ghl.AuthConfig{LocationIDs: []string{"loc-3"}}, "s", ghl.ProofSecret, ghl.ErrLocationIgnored},
		"a wrong secret":                  {ghl.AuthConfig{LocationIDs: []string{"loc-1"}}, "x", ghl.ProofPublishedKey, ghl.ErrNotMarketplace},
		"no secret":                       {ghl.AuthConfig{LocationIDs: []string{"loc-1"}}, "", ghl.ProofPublishedKey, ghl.ErrNotMarketplace},
		"no secret where apps are listed": {ghl.AuthConfig{AppIDs: []string{"app-1"}}, "", ghl.ProofPublishedKey, ghl.ErrNotMarketplace},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.cfg.Secrets = []string{"s"}
			v, err := ghl.NewVerifierWithPublishedKey(test.cfg, fromBase64(t, text))
			require.NoError(t, err)
			header := signed(ghlKey, workflow)
			header.Set(ghl.HeaderSecret, test.secret)
			proof, err := v.Authenticate(header, nil, []byte(workflow))
			require.NoError(t, err)
			body, err := ghl.Decode(jsonType, []byte(workflow))
			require.NoError(t, err)
			proof, e, err := v.Admit(proof, ghl.Request{Header: header, Raw: []byte(workflow), Body: body}, ghl.Normalise(body, received))
			require.ErrorIs(t, err, test.err)
			assert.Equal(t, test.want, proof)
			assert.Empty(t, e.DedupeKey)
		})
	}
}
