package config

import (
	"reflect"
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
	fields := fieldsOf[P]()
	for i, v := range Variables[P]() {
		assert.NotEmpty(t, v.Meaning, v.Name)
		said := 0
		for _, is := range []bool{v.Required, v.Default != "", v.Unset != ""} {
			if is {
				said++
			}
		}
		assert.Equal(t, 1, said, "%s is required, has a default or says what its absence means", v.Name)

		field := fields[i].Type
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if field.Kind() != reflect.String || field.Name() != "string" {
			assert.Contains(t, parsers, field, v.Name)
		}
		if assert.NotContains(t, v.Name, "_FILE"); !v.File {
			assert.NotContains(t, secrets, field, "%s holds a secret, so that it needs a _FILE twin", v.Name)
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
