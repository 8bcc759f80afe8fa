package config_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/config"
	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

const databaseURL = "postgres://sync:hunter2@db.example.com:5432/middleware?sslmode=require"

func TestTheReceiverStartsWithItsDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load[config.Receiver]([]string{"DATABASE_URL=" + databaseURL, "GHL_APP_IDS=app-1"})
	require.NoError(t, err)
	assert.Equal(t, config.Receiver{
		Database:      config.Database{DatabaseURL: databaseURL},
		GHLAppIDs:     config.List{"app-1"},
		MaxLiveEvents: 1000,
	}, got)
}

const sinkSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestTheControllerStartsWithItsDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load[config.Controller]([]string{"DATABASE_URL=" + databaseURL})
	require.NoError(t, err)
	assert.Equal(t, config.Controller{
		Database:             config.Database{DatabaseURL: databaseURL},
		VerityOnDelete:       config.Clear,
		VerityOnCancel:       config.Keep,
		GHLAPIBaseURL:        &url.URL{Scheme: "https", Host: "services.leadconnectorhq.com"},
		AlowareOnPhoneChange: config.CreateContact,
		AlowareBaseURL:       &url.URL{Scheme: "https", Host: "app.aloware.com"},
		DefaultPhoneRegion:   "US",
		RetryBaseDelay:       5 * time.Second,
		RetryMaxDelay:        15 * time.Minute,
		RetryMaxAttempts:     12,
		DoneTTL:              time.Hour,
		ErrorTTL:             72 * time.Hour,
		FinishedHistoryLimit: 250,
		Retention:            90 * 24 * time.Hour,
		MaxWaitingEvents:     4000,
	}, got)
}

func TestTheReceiversVerifierHasTheConfiguredKeysSecretsAndLists(t *testing.T) {
	t.Parallel()
	got, err := config.Load[config.Receiver]([]string{
		"DATABASE_URL=" + databaseURL, "GHL_WEBHOOK_PUBLIC_KEYS=" + ghl.PublishedKey, "GHL_WEBHOOK_SECRETS=one, two",
		"GHL_APP_IDS=app-1,app-2", "GHL_LOCATION_IDS=location-1", "ALLOW_UNAUTHENTICATED=true",
	})
	require.NoError(t, err)
	assert.Equal(t, ghl.AuthConfig{
		PublicKeys: []string{ghl.PublishedKey}, Secrets: []string{"one", "two"}, AppIDs: []string{"app-1", "app-2"},
		LocationIDs: []string{"location-1"}, AllowUnauthenticated: true,
	}, got.Auth())
}

func TestMigrateRequiresOnlyTheDatabase(t *testing.T) {
	t.Parallel()
	got, err := config.Load[config.Migrate]([]string{"DATABASE_URL=" + databaseURL})
	require.NoError(t, err)
	assert.Equal(t, databaseURL, got.DatabaseURL.Reveal())
}

func TestValuesOfEveryTypeAreRead(t *testing.T) {
	t.Parallel()
	tokens := t.TempDir()
	got, err := config.Load[config.Controller]([]string{
		"DATABASE_URL=" + databaseURL,
		"VERITY_BASE_URL=http://verity.example.com:8080/base",
		"VERITY_ON_CANCEL=clear",
		"GHL_TOKENS_DIR=" + tokens,
		"GHL_APPOINTMENT_TAGS= booked ,, from verity,",
		"GHL_LOCATION_REGIONS=location-1=DE, location-2 = CH,",
		"RETRY_BASE_DELAY=1m30s",
		"DONE_TTL=1d12h",
		"RETENTION=31d",
		"ERROR_TTL= 96h ",
		"ALOWARE_BASE_URL=",
		"ALOWARE_ON_PHONE_CHANGE=keep",
		"WEBHOOK_SINK_URL=https://sink.example.com/hook", "WEBHOOK_SINK_SECRET=" + sinkSecret, "WEBHOOK_SINK_ALLOW_PRIVATE=true",
	})
	require.NoError(t, err)
	assert.Equal(t, "http://verity.example.com:8080/base", got.VerityBaseURL.String())
	assert.Equal(t, config.Clear, got.VerityOnCancel)
	assert.Equal(t, config.KeepContact, got.AlowareOnPhoneChange)
	assert.Equal(t, tokens, got.GHLTokensDir)
	assert.Equal(t, "https://sink.example.com/hook", got.WebhookSinkURL.String())
	assert.Equal(t, sinkSecret, got.WebhookSinkSecret.Reveal())
	assert.True(t, got.WebhookSinkAllowPrivate)
	assert.Equal(t, config.List{"booked", "from verity"}, got.GHLAppointmentTags)
	assert.Equal(t, config.Regions{"location-1": "DE", "location-2": "CH"}, got.GHLLocationRegions)
	assert.Equal(t, 90*time.Second, got.RetryBaseDelay)
	assert.Equal(t, 36*time.Hour, got.DoneTTL)
	assert.Equal(t, 31*24*time.Hour, got.Retention)
	assert.Equal(t, 96*time.Hour, got.ErrorTTL)
	assert.Equal(t, "app.aloware.com", got.AlowareBaseURL.Host, "an empty value is unset")
}

func TestInvalidVariablesOfTheReceiverAreErrors(t *testing.T) {
	t.Parallel()
	testInvalid[config.Receiver](t, map[string]invalidCase{
		"the database is not set":                             {[]string{"DATABASE_URL="}, "DATABASE_URL: required"},
		"the database URL is not a URL":                       {[]string{"DATABASE_URL=middleware"}, "DATABASE_URL: expected a Postgres URL"},
		"the database URL has the scheme of another database": {[]string{"DATABASE_URL=mysql://db.example.com/x"}, "DATABASE_URL: expected a Postgres URL"},
		"the database URL's pool is too small":                {[]string{"DATABASE_URL=" + databaseURL + "&pool_max_conns=0"}, "DATABASE_URL: expected a Postgres URL"},
		"the certificate that the database URL names is missing": {
			[]string{"DATABASE_URL=" + databaseURL + "&sslrootcert=/nowhere/ca.crt"}, "/nowhere/ca.crt",
		},
		"nothing authenticates a webhook": {
			[]string{"GHL_APP_IDS="}, "GHL_WEBHOOK_PUBLIC_KEYS, GHL_WEBHOOK_SECRETS, GHL_APP_IDS, GHL_LOCATION_IDS: no sender is allowed",
		},
		"a public key is not a key": {[]string{"GHL_WEBHOOK_PUBLIC_KEYS=hunter2,hunter3"}, "public key 1 of 2: not an Ed25519 public key"},
		"a list has only commas":    {[]string{"GHL_LOCATION_IDS=,,"}, "GHL_LOCATION_IDS: expected at least one element"},
		"a secret has two lines":    {[]string{"GHL_WEBHOOK_SECRETS=one,two\nthree"}, "GHL_WEBHOOK_SECRETS: expected a single line"},
		"a boolean is neither true nor false": {
			[]string{"ALLOW_UNAUTHENTICATED=maybe"}, `ALLOW_UNAUTHENTICATED: expected true or false, got "maybe"`,
		},
		"a limit is not a number":             {[]string{"MAX_LIVE_EVENTS=many"}, `MAX_LIVE_EVENTS: expected a whole number, got "many"`},
		"a limit is zero":                     {[]string{"MAX_LIVE_EVENTS=0"}, "MAX_LIVE_EVENTS: expected more than 0, got 0"},
		"a limit has more than 32 bits":       {[]string{"MAX_LIVE_EVENTS=4294967296"}, "MAX_LIVE_EVENTS: expected a whole number"},
		"the file of a secret does not exist": {[]string{"JOBS_SECRET_FILE=/nowhere/secret"}, "JOBS_SECRET: read JOBS_SECRET_FILE: open /nowhere/secret"},
	})
}

func TestInvalidVariablesOfTheControllerAreErrors(t *testing.T) {
	t.Parallel()
	testInvalid[config.Controller](t, map[string]invalidCase{
		"a base URL is relative":                     {[]string{"VERITY_BASE_URL=verity.example.com"}, "VERITY_BASE_URL: expected an absolute http or https URL"},
		"a base URL has another scheme":              {[]string{"GHL_API_BASE_URL=ftp://ghl.example.com"}, "GHL_API_BASE_URL: expected an absolute http or https URL"},
		"a base URL contains a password":             {[]string{"ALOWARE_BASE_URL=https://me:hunter2@aloware.example.com"}, "ALOWARE_BASE_URL: expected a URL without user name"},
		"a base URL has a query":                     {[]string{"VERITY_BASE_URL=https://verity.example.com/?a=b"}, "VERITY_BASE_URL: expected a URL without user name"},
		"Verity's database URL is not a URL":         {[]string{"VERITY_DATABASE_URL=verity"}, "VERITY_DATABASE_URL: expected a Postgres URL"},
		"a policy does not exist":                    {[]string{"VERITY_ON_DELETE=drop"}, `VERITY_ON_DELETE: expected clear or keep, got "drop"`},
		"the directory of tokens does not exist":     {[]string{"GHL_TOKENS_DIR=/nowhere"}, `GHL_TOKENS_DIR: expected a directory, got "/nowhere"`},
		"there are tags but no token":                {[]string{"GHL_APPOINTMENT_TAGS=booked"}, "GHL_APPOINTMENT_TAGS: tags cannot be added without"},
		"the phone region does not exist":            {[]string{"DEFAULT_PHONE_REGION=XX"}, `DEFAULT_PHONE_REGION: expected a region such as US or DE, got "XX"`},
		"a location's region does not exist":         {[]string{"GHL_LOCATION_REGIONS=l1=DE,l2=XX"}, `GHL_LOCATION_REGIONS: expected a location and its region, such as 2CT6KXT52LRHORZO2RIG=DE, got "l2=XX"`},
		"a region has no location":                   {[]string{"GHL_LOCATION_REGIONS=DE"}, `GHL_LOCATION_REGIONS: expected a location and its region, such as 2CT6KXT52LRHORZO2RIG=DE, got "DE"`},
		"a location has two regions":                 {[]string{"GHL_LOCATION_REGIONS=l1=DE,l1=CH"}, `GHL_LOCATION_REGIONS: expected one region for each location, got several for "l1"`},
		"a duration has no unit":                     {[]string{"DONE_TTL=3600"}, `DONE_TTL: expected a duration such as 5s, 15m, 72h or 90d, got "3600"`},
		"a duration ends with days":                  {[]string{"DONE_TTL=1h1d"}, "DONE_TTL: expected a duration"},
		"a duration has too many days":               {[]string{"RETENTION=1000000d"}, "RETENTION: expected a duration"},
		"a duration overflows":                       {[]string{"RETENTION=32000d2500000h"}, "RETENTION: expected a duration"},
		"a duration is zero":                         {[]string{"ERROR_TTL=0s"}, "ERROR_TTL: expected more than 0, got 0s"},
		"the limit of waiting events is negative":    {[]string{"MAX_WAITING_EVENTS=-1"}, "MAX_WAITING_EVENTS: expected more than 0, got -1"},
		"a duration is negative":                     {[]string{"RETRY_BASE_DELAY=-5s"}, "RETRY_BASE_DELAY: expected more than 0, got -5s"},
		"the base delay exceeds the maximum":         {[]string{"RETRY_BASE_DELAY=20m"}, "RETRY_BASE_DELAY, RETRY_MAX_DELAY: expected the first to be at most the second, got 20m0s and 15m0s"},
		"the number of attempts is zero":             {[]string{"RETRY_MAX_ATTEMPTS=0"}, "RETRY_MAX_ATTEMPTS: expected more than 0"},
		"the history limit is zero":                  {[]string{"FINISHED_HISTORY_LIMIT=0"}, "FINISHED_HISTORY_LIMIT: expected more than 0"},
		"rows are deleted while GHL can resend them": {[]string{"RETENTION=30d"}, "RETENTION: expected at least 31d (744h0m0s), got 720h0m0s"},
		"a secret has a control character":           {[]string{"VERITY_WEBHOOK_SECRET=hunter2\x00"}, "VERITY_WEBHOOK_SECRET: expected a single line"},
		"a webhook sink has no secret": {
			[]string{"WEBHOOK_SINK_URL=https://sink.example.com"}, "WEBHOOK_SINK_SECRET: expected whsec_ and the base64 of 24 to 64 random bytes",
		},
		"the secret of a webhook sink is too short": {
			[]string{"WEBHOOK_SINK_URL=https://sink.example.com", "WEBHOOK_SINK_SECRET=whsec_aHVudGVyMg=="},
			"WEBHOOK_SINK_SECRET: expected the base64 of 24 to 64 bytes after whsec_, got 7 bytes",
		},
		"the URL of a webhook sink has a password": {
			[]string{"WEBHOOK_SINK_URL=https://me:hunter2@sink.example.com", "WEBHOOK_SINK_SECRET=" + sinkSecret},
			"WEBHOOK_SINK_URL: expected a URL without user name",
		},
	})
}

type invalidCase struct {
	environ []string
	want    string
}

func testInvalid[P config.Process](t *testing.T, cases map[string]invalidCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The last value of a variable counts.
			environ := append([]string{"DATABASE_URL=" + databaseURL, "GHL_APP_IDS=app-1"}, tc.environ...)
			_, err := config.Load[P](environ)
			require.ErrorContains(t, err, tc.want)
			assert.NotContains(t, err.Error(), "\n", "one error, one line")
			assert.NotContains(t, err.Error(), "hunter2")

			var problem config.Problem
			require.ErrorAs(t, err, &problem)
			assert.NotEmpty(t, problem.Variables)
		})
	}
}

func TestAllErrorsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := config.Load[config.Controller]([]string{
		"VERITY_BASE_URL=nowhere", "VERITY_ON_DELETE=drop", "GHL_API_TOKEN=t", "GHL_API_TOKEN_FILE=/t", "RETRY_MAX_ATTEMPTS=0", "RETENTION=1d", "DONE_TTL=x",
	})
	require.Error(t, err)
	var variables []string
	for line := range strings.Lines(err.Error()) {
		variable, _, _ := strings.Cut(line, ":")
		variables = append(variables, variable)
	}
	assert.ElementsMatch(t, []string{
		"DATABASE_URL", "VERITY_BASE_URL", "VERITY_ON_DELETE", "GHL_API_TOKEN", "RETRY_MAX_ATTEMPTS", "RETENTION", "DONE_TTL",
	}, variables, "each variable once")
}

func TestSecretsAreReadFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	database, secrets, empty := write("database", databaseURL+"\n"), write("secrets", "one,\ntwo\r\n"), write("empty", "\n")

	t.Run("without the line break at the end", func(t *testing.T) {
		t.Parallel()
		got, err := config.Load[config.Receiver]([]string{"DATABASE_URL_FILE=" + database, "GHL_WEBHOOK_SECRETS_FILE=" + secrets})
		require.NoError(t, err)
		assert.Equal(t, databaseURL, got.DatabaseURL.Reveal())
		assert.Equal(t, []string{"one", "two"}, got.GHLWebhookSecrets.Reveal())
	})
	t.Run("and a variable that is set as well is an error", func(t *testing.T) {
		t.Parallel()
		_, err := config.Load[config.Migrate]([]string{"DATABASE_URL=" + databaseURL, "DATABASE_URL_FILE=" + database})
		assert.EqualError(t, err, "DATABASE_URL: expected either this or DATABASE_URL_FILE, both are set")
	})
	t.Run("and an empty variable is unset", func(t *testing.T) {
		t.Parallel()
		_, err := config.Load[config.Migrate]([]string{"DATABASE_URL=", "DATABASE_URL_FILE=" + database})
		assert.NoError(t, err)
	})
	t.Run("and an empty file is an error, because an endpoint would open or close unnoticed", func(t *testing.T) {
		t.Parallel()
		_, err := config.Load[config.Receiver]([]string{"DATABASE_URL=" + databaseURL, "GHL_APP_IDS=a", "JOBS_SECRET_FILE=" + empty})
		assert.EqualError(t, err, "JOBS_SECRET: read JOBS_SECRET_FILE: "+empty+" is empty")
	})
	t.Run("and a variable without a twin is not", func(t *testing.T) {
		t.Parallel()
		got, err := config.Load[config.Receiver]([]string{"DATABASE_URL=" + databaseURL, "GHL_APP_IDS=a", "GHL_LOCATION_IDS_FILE=" + secrets})
		require.NoError(t, err)
		assert.Empty(t, got.GHLLocationIDs)
	})
}
