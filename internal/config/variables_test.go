package config

import (
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEveryVariableIsDescribed(t *testing.T) {
	t.Parallel()
	t.Run("receiver", testDescribed[Receiver])
	t.Run("controller", testDescribed[Controller])
	t.Run("migrate", testDescribed[Migrate])
	t.Run("tools", testDescribed[Tool])
}

func testDescribed[P Process](t *testing.T) {
	t.Parallel()
	secrets := []reflect.Type{reflect.TypeFor[Secret](), reflect.TypeFor[Secrets](), reflect.TypeFor[DatabaseURL]()}
	types := []Type{TypeString, TypeBoolean, TypeInteger, TypeDuration, TypeURL, TypeList, TypePostgresURL, TypeRegion, TypeRegions}
	fields := fieldsOf[P]()
	for i, v := range Variables[P]() {
		assert.NotEmpty(t, v.Help, v.Name)
		assert.NotContains(t, v.Description(), "{{", "%s: --help is a template", v.Name)
		said := 0
		for _, is := range []bool{v.Required, v.Default != "", v.Unset != ""} {
			if is {
				said++
			}
		}
		assert.Equal(t, 1, said, "%s is required, has a default or says what happens if it is not set", v.Name)
		assert.Contains(t, types, v.Type, v.Name)
		assert.NotEmpty(t, v.Chart, v.Name)

		field := fields[i].Type
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() != reflect.String || field.Name() != "string" {
			assert.Contains(t, parsers(), field, v.Name)
		}
		assert.NotContains(t, v.Name, "_FILE")
		assert.Equal(t, slices.Contains(secrets, field), v.Secret, v.Name)
		if v.Secret {
			assert.True(t, v.File, "%s is a secret, so it needs a _FILE twin", v.Name)
			assert.Equal(t, "secret.data."+v.Name, v.Chart)
		}
	}
}

func TestTheReceiversVariables(t *testing.T) {
	t.Parallel()
	var names, withFile []string
	for _, v := range Variables[Receiver]() {
		names = append(names, v.Name)
		if v.File {
			withFile = append(withFile, v.FileName())
		}
	}
	assert.Equal(t, []string{
		"DATABASE_URL", "GHL_WEBHOOK_PUBLIC_KEYS", "GHL_WEBHOOK_SECRETS", "GHL_APP_IDS", "GHL_LOCATION_IDS",
		"JOBS_SECRET", "ALLOW_UNAUTHENTICATED", "MAX_LIVE_EVENTS",
	}, names)
	assert.Equal(t, []string{"DATABASE_URL_FILE", "GHL_WEBHOOK_PUBLIC_KEYS_FILE", "GHL_WEBHOOK_SECRETS_FILE", "JOBS_SECRET_FILE"}, withFile)
}

func TestAVariableIsDeclaredOnceForAllItsReaders(t *testing.T) {
	t.Parallel()
	byName := map[string]Variable{}
	for _, v := range All() {
		assert.NotContains(t, byName, v.Name)
		byName[v.Name] = v
	}
	for _, process := range Installed() {
		for _, v := range process.Variables {
			assert.Contains(t, byName[v.Name].Readers, process.Name)
			v.Readers = byName[v.Name].Readers
			assert.Equal(t, byName[v.Name], v, "%s declares %s differently", process.Name, v.Name)
		}
	}
	for name, want := range map[string]Variable{
		"DATABASE_URL": {
			Type: TypePostgresURL, Help: "middleware database, as a Postgres URL", Required: true, Secret: true, File: true,
			Chart: "secret.data.DATABASE_URL", Readers: []string{"receiver", "controller", "migrate"},
		},
		"VERITY_DATABASE_URL": {
			Type: TypePostgresURL, Help: "Verity's database, as a Postgres URL", Unset: "leads are not synced", Secret: true, File: true,
			Chart: "secret.data.VERITY_DATABASE_URL", Readers: []string{"controller", "migrate"},
		},
		"VERITY_ON_CANCEL": {
			Type:   TypeString,
			Help:   "effect of a cancelled appointment on its lead: clear removes the appointment from the lead, keep leaves it",
			Values: []string{"clear", "keep"}, Default: "keep", Chart: "config.VERITY_ON_CANCEL", Readers: []string{"controller"},
		},
		"DEFAULT_PHONE_REGION": {
			Type: TypeRegion, Help: "region of phone numbers without a country code, as an ISO 3166-1 code", Default: "US",
			Chart: "config.DEFAULT_PHONE_REGION", Readers: []string{"controller"},
		},
		"GHL_TOKENS_DIR": {
			Type:  TypeString,
			Help:  "directory with one file for each location, named by the location's id, with its token; changes apply without a restart",
			Unset: "GHL_API_TOKEN serves every location", Chart: "ghlTokensSecretName", Readers: []string{"controller"},
		},
	} {
		want.Name = name
		assert.Equal(t, want, byName[name])
	}
}

func TestADescriptionEndsWithTheValueOfAVariableThatIsNotSet(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]Variable{
		"a database (required)":                  {Help: "a database", Required: true},
		"a delay (default 5s)":                   {Help: "a delay", Default: "5s"},
		"a token (unset: nothing is sent)":       {Help: "a token", Unset: "nothing is sent"},
		"a policy (clear or keep; default keep)": {Help: "a policy", Values: []string{"clear", "keep"}, Default: "keep"},
	} {
		assert.Equal(t, want, v.Description())
	}
}
