// Package config reads what connects a process to other systems from environment variables. A struct for each process
// declares its variables, once: parsing, --help, the chart's values and their schema, the containers' variables and
// docs/configuration.md follow from the declaration; `make manifests` writes the files. Flags declare how a process runs.
package config

import (
	"net/url"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// Struct tags, besides those of the env library (env with the option notEmpty, envDefault):
//
//	help   what the variable means, a noun phrase
//	unset  what happens if the variable is not set; required unless there is a default
//	file   "true": a file can hold the value, named by the variable's _FILE twin; every secret has one
//	type   the Type, if the Go type does not imply it
//	chart  the path of the chart's value, if it is not the default: secret.data.NAME for a secret, else config.NAME;
//	       such a value and its use in the templates are written by hand
//
// The Go type implies the Type, the allowed values and whether the variable is a secret: see types.go.

// Database is the connection that every process needs.
type Database struct {
	DatabaseURL DatabaseURL `env:"DATABASE_URL,notEmpty" help:"middleware database, as a Postgres URL"`
}

// VerityDatabase is the connection to Verity's database, which is optional.
type VerityDatabase struct {
	VerityDatabaseURL DatabaseURL `env:"VERITY_DATABASE_URL" unset:"leads are not synced" help:"Verity's database, as a Postgres URL"`
}

// Receiver is the environment of `verity-sync receiver`.
type Receiver struct {
	Database

	GHLWebhookPublicKeys List    `env:"GHL_WEBHOOK_PUBLIC_KEYS" file:"true" unset:"GoHighLevel's published key, if GHL_APP_IDS or GHL_LOCATION_IDS is set" help:"Ed25519 public keys of marketplace webhooks, comma-separated: PEM, or the key in base64 or hex"`
	GHLWebhookSecrets    Secrets `env:"GHL_WEBHOOK_SECRETS" unset:"workflow webhooks are rejected" help:"secrets of workflow webhooks, comma-separated; a webhook must carry one of them"`
	GHLAppIDs            List    `env:"GHL_APP_IDS" unset:"any app" help:"marketplace apps whose webhooks are accepted, comma-separated; a webhook of another app is answered 403"`
	GHLLocationIDs       List    `env:"GHL_LOCATION_IDS" unset:"any location" help:"locations whose webhooks are stored, comma-separated; a webhook of another location is answered 200 and ignored"`
	JobsSecret           Secret  `env:"JOBS_SECRET" unset:"the jobs endpoint answers 404" help:"bearer token of the jobs endpoint, POST /api/jobs/process-pending"`
	AllowUnauthenticated bool    `env:"ALLOW_UNAUTHENTICATED" envDefault:"false" help:"accept webhooks that carry neither a signature nor a secret; a webhook with a wrong signature is still rejected"`

	// MaxLiveEvents bounds the unfinished WebhookEvents that are due.
	MaxLiveEvents int `env:"MAX_LIVE_EVENTS" envDefault:"1000" help:"maximum number of unfinished WebhookEvents that are due; further events wait in Postgres"`
}

// Auth returns which webhooks are accepted.
func (r Receiver) Auth() ghl.AuthConfig {
	return ghl.AuthConfig{
		PublicKeys:           r.GHLWebhookPublicKeys,
		Secrets:              r.GHLWebhookSecrets.Reveal(),
		AppIDs:               r.GHLAppIDs,
		LocationIDs:          r.GHLLocationIDs,
		AllowUnauthenticated: r.AllowUnauthenticated,
	}
}

// WebhookSink is the destination that gets every event as a message of Standard Webhooks.
type WebhookSink struct {
	WebhookSinkURL          *url.URL `env:"WEBHOOK_SINK_URL" unset:"events are not sent to a webhook sink" help:"URL to which every event is also sent, as a signed message of Standard Webhooks"`
	WebhookSinkSecret       Secret   `env:"WEBHOOK_SINK_SECRET" unset:"WEBHOOK_SINK_URL must not be set" help:"secret that signs the messages to the webhook sink: whsec_ and the base64 of 24 to 64 random bytes"`
	WebhookSinkAllowPrivate bool     `env:"WEBHOOK_SINK_ALLOW_PRIVATE" envDefault:"false" help:"also send messages to a webhook sink at an address that is not public, such as one in the cluster"`
}

// Controller is the environment of `verity-sync controller`.
type Controller struct {
	Database

	VerityBaseURL       *url.URL `env:"VERITY_BASE_URL" unset:"events are not forwarded" help:"base URL of Verity; events are forwarded to its path /api/integrations/ghl/webhook"`
	VerityWebhookSecret Secret   `env:"VERITY_WEBHOOK_SECRET" unset:"the header is omitted" help:"secret that is sent to Verity in the header X-Middleware-Secret"`
	VerityDatabase
	VerityOnDelete OnEnd `env:"VERITY_ON_DELETE" envDefault:"clear" help:"effect of a deleted appointment on its lead: clear removes the appointment from the lead, keep leaves it"`
	VerityOnCancel OnEnd `env:"VERITY_ON_CANCEL" envDefault:"keep" help:"effect of a cancelled appointment on its lead: clear removes the appointment from the lead, keep leaves it"`

	GHLAPIBaseURL      *url.URL `env:"GHL_API_BASE_URL" envDefault:"https://services.leadconnectorhq.com" help:"base URL of GoHighLevel's API"`
	GHLAPIToken        Secret   `env:"GHL_API_TOKEN" unset:"GoHighLevel's API is not called, unless GHL_TOKENS_DIR is set" help:"token of GoHighLevel's API, for an installation with one location"`
	GHLTokensDir       string   `env:"GHL_TOKENS_DIR" chart:"ghlTokensSecretName" unset:"GHL_API_TOKEN serves every location" help:"directory with one file for each location, named by the location's id, with its token; changes apply without a restart"`
	GHLAppointmentTags List     `env:"GHL_APPOINTMENT_TAGS" unset:"none" help:"tags that are added to the contact after its appointment is synced, comma-separated"`

	AlowareBaseURL  *url.URL `env:"ALOWARE_BASE_URL" envDefault:"https://app.aloware.com" help:"base URL of Aloware's API"`
	AlowareAPIToken Secret   `env:"ALOWARE_API_TOKEN" unset:"contacts are not synced to Aloware" help:"token of Aloware's API"`
	// Aloware identifies a contact by its phone number and has no call that changes it.
	AlowareOnPhoneChange OnPhoneChange `env:"ALOWARE_ON_PHONE_CHANGE" envDefault:"create" help:"effect of a contact's new phone number at Aloware: create adds a contact with the new number and keeps the former one, keep sends nothing"`

	WebhookSink

	DefaultPhoneRegion string  `env:"DEFAULT_PHONE_REGION" type:"region" envDefault:"US" help:"region of phone numbers without a country code, as an ISO 3166-1 code"`
	GHLLocationRegions Regions `env:"GHL_LOCATION_REGIONS" unset:"the country in the webhook's location, else DEFAULT_PHONE_REGION" help:"regions of phone numbers without a country code, by location, comma-separated: a location's id, =, and its region"`

	RetryBaseDelay   time.Duration `env:"RETRY_BASE_DELAY" envDefault:"5s" help:"delay after the first failed attempt; it doubles with each further attempt"`
	RetryMaxDelay    time.Duration `env:"RETRY_MAX_DELAY" envDefault:"15m" help:"maximum delay between two attempts"`
	RetryMaxAttempts int           `env:"RETRY_MAX_ATTEMPTS" envDefault:"12" help:"number of attempts after which an event ends in Error"`

	DoneTTL              time.Duration `env:"DONE_TTL" envDefault:"1h" help:"how long a WebhookEvent is kept after it is done"`
	ErrorTTL             time.Duration `env:"ERROR_TTL" envDefault:"72h" help:"how long a WebhookEvent in error is kept"`
	FinishedHistoryLimit int           `env:"FINISHED_HISTORY_LIMIT" envDefault:"250" help:"maximum number of finished WebhookEvents of a kind that are kept: done, in error, in error because the body does not parse"`
	Retention            time.Duration `env:"RETENTION" envDefault:"90d" help:"how long finished rows are kept in the database, at least 31d: GoHighLevel retries a webhook for 30 days"`

	// MaxWaitingEvents bounds the unfinished WebhookEvents that wait for a later attempt; the surplus is parked.
	MaxWaitingEvents int `env:"MAX_WAITING_EVENTS" envDefault:"4000" help:"maximum number of unfinished WebhookEvents that wait for a later attempt; further events wait in Postgres"`
}

// Migrate is the environment of `verity-sync migrate` and of `verity-sync check`. They check Verity's database and change nothing there.
type Migrate struct {
	Database
	VerityDatabase
}

// Tool is the environment of the other tools.
type Tool struct {
	Database
}
