// Package config reads what connects a process to the world around it from environment variables. Each process has a
// struct whose tags are the only description of its variables: parsing, --help and the reference in docs/ all come
// from them. How a process runs is not said here but by its flags.
package config

import (
	"net/url"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/ghl"
)

// Struct tags, besides those of the env library:
//
//	help   what the variable means, as --help prints it
//	unset  what happens where it is not set and has no default
//	file   "true": the value can also be given in a file, named by the variable's _FILE twin; every secret has it

// Database is the connection that every process needs.
type Database struct {
	DatabaseURL DatabaseURL `env:"DATABASE_URL,notEmpty" file:"true" help:"middleware database, as a Postgres URL"`
}

// Receiver is the environment of `verity-sync receiver`.
type Receiver struct {
	Database

	GHLWebhookPublicKeys List    `env:"GHL_WEBHOOK_PUBLIC_KEYS" file:"true" unset:"GHL's published key, where GHL_APP_IDS or GHL_LOCATION_IDS is set" help:"Ed25519 keys that sign marketplace webhooks, comma-separated: PEM, or base64 or hex of the key"`
	GHLWebhookSecrets    Secrets `env:"GHL_WEBHOOK_SECRETS" file:"true" unset:"workflow webhooks are refused" help:"secrets that workflow webhooks carry, comma-separated; any of them is accepted"`
	GHLAppIDs            List    `env:"GHL_APP_IDS" unset:"any" help:"marketplace apps whose webhooks are accepted, comma-separated; those of other apps are answered 403"`
	GHLLocationIDs       List    `env:"GHL_LOCATION_IDS" unset:"any" help:"locations whose webhooks are stored, comma-separated; those of other locations are answered 200 and ignored"`
	JobsSecret           Secret  `env:"JOBS_SECRET" file:"true" unset:"the jobs endpoint answers 404" help:"bearer token of POST /api/jobs/process-pending"`
	AllowUnauthenticated bool    `env:"ALLOW_UNAUTHENTICATED" envDefault:"false" help:"accept webhooks that carry neither a signature nor a secret; a wrong signature is refused even then"`

	// MaxLiveEvents caps the unfinished WebhookEvents that are due.
	MaxLiveEvents int `env:"MAX_LIVE_EVENTS" envDefault:"1000" help:"maximum number of unfinished WebhookEvents that are due; further events wait in Postgres"`
}

// Auth says who may post.
func (r Receiver) Auth() ghl.AuthConfig {
	return ghl.AuthConfig{
		PublicKeys:           r.GHLWebhookPublicKeys,
		Secrets:              r.GHLWebhookSecrets.Reveal(),
		AppIDs:               r.GHLAppIDs,
		LocationIDs:          r.GHLLocationIDs,
		AllowUnauthenticated: r.AllowUnauthenticated,
	}
}

// Controller is the environment of `verity-sync controller`.
type Controller struct {
	Database

	VerityBaseURL       *url.URL    `env:"VERITY_BASE_URL" unset:"events are not forwarded" help:"base URL of Verity; events are forwarded to POST <base>/api/integrations/ghl/webhook"`
	VerityWebhookSecret Secret      `env:"VERITY_WEBHOOK_SECRET" file:"true" unset:"the header is left out" help:"secret that is sent to Verity as X-Middleware-Secret"`
	VerityDatabaseURL   DatabaseURL `env:"VERITY_DATABASE_URL" file:"true" unset:"leads are not synced" help:"Verity's database, as a Postgres URL"`
	VerityOnDelete      OnEnd       `env:"VERITY_ON_DELETE" envDefault:"clear" help:"whether a deleted appointment clears its lead: clear or keep"`
	VerityOnCancel      OnEnd       `env:"VERITY_ON_CANCEL" envDefault:"keep" help:"whether a cancelled appointment clears its lead: clear or keep"`

	GHLAPIBaseURL      *url.URL `env:"GHL_API_BASE_URL" envDefault:"https://services.leadconnectorhq.com" help:"GHL's API"`
	GHLAPIToken        Secret   `env:"GHL_API_TOKEN" file:"true" unset:"nothing is looked up through GHL's API, unless GHL_TOKENS_DIR is set" help:"token of GHL's API, for an installation with one location"`
	GHLTokensDir       string   `env:"GHL_TOKENS_DIR" unset:"GHL_API_TOKEN serves every location" help:"directory with one file per location, named by the location's id, with its token; changes are picked up"`
	GHLAppointmentTags List     `env:"GHL_APPOINTMENT_TAGS" unset:"none" help:"tags added to the contact after its appointment was synced, comma-separated"`

	AlowareBaseURL  *url.URL `env:"ALOWARE_BASE_URL" envDefault:"https://app.aloware.com" help:"Aloware's API"`
	AlowareAPIToken Secret   `env:"ALOWARE_API_TOKEN" file:"true" unset:"contacts are not synced to Aloware" help:"token of Aloware's API"`
	// Aloware knows contacts by their phone number and has no way to change it.
	AlowareOnPhoneChange OnPhoneChange `env:"ALOWARE_ON_PHONE_CHANGE" envDefault:"create" help:"what happens at Aloware when a contact's phone number changes: create (add a contact with the new number and keep the former one) or keep (send nothing)"`

	DefaultPhoneRegion string  `env:"DEFAULT_PHONE_REGION" envDefault:"US" help:"region of phone numbers without a country code, as an ISO 3166-1 code"`
	GHLLocationRegions Regions `env:"GHL_LOCATION_REGIONS" unset:"what a webhook says of its location, else DEFAULT_PHONE_REGION" help:"regions of phone numbers without a country code, by location: <location id>=<region>, comma-separated"`

	RetryBaseDelay   time.Duration `env:"RETRY_BASE_DELAY" envDefault:"5s" help:"delay after the first failed attempt; doubles with each further attempt"`
	RetryMaxDelay    time.Duration `env:"RETRY_MAX_DELAY" envDefault:"15m" help:"longest delay between two attempts"`
	RetryMaxAttempts int           `env:"RETRY_MAX_ATTEMPTS" envDefault:"12" help:"number of attempts after which an event ends in Error"`

	DoneTTL              time.Duration `env:"DONE_TTL" envDefault:"1h" help:"how long a WebhookEvent is kept after it is done"`
	ErrorTTL             time.Duration `env:"ERROR_TTL" envDefault:"72h" help:"how long a WebhookEvent in error is kept"`
	FinishedHistoryLimit int           `env:"FINISHED_HISTORY_LIMIT" envDefault:"250" help:"maximum number of WebhookEvents that are kept: of those done, of those in error, and of those that do not parse"`
	Retention            time.Duration `env:"RETENTION" envDefault:"90d" help:"how long finished rows are kept in the database, at least 31d: GHL retries a webhook for 30 days"`

	// MaxWaitingEvents caps the unfinished WebhookEvents that wait for a later attempt: the surplus is parked.
	MaxWaitingEvents int `env:"MAX_WAITING_EVENTS" envDefault:"4000" help:"maximum number of unfinished WebhookEvents that wait for a later attempt; further events wait in Postgres"`
}

// Migrate is the environment of `verity-sync migrate` and of `verity-sync check`.
type Migrate struct {
	Database

	// VerityDatabaseURL is checked, and nothing is changed there.
	VerityDatabaseURL DatabaseURL `env:"VERITY_DATABASE_URL" file:"true" unset:"leads are not synced" help:"Verity's database, as a Postgres URL"`
}

// Tool is the environment of the other tools.
type Tool struct {
	Database
}
