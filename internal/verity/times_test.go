package verity_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/verity"
)

// TestTimesAreUTCInEveryTimeZoneOfTheDatabase uses columns without time zone, into which Verity's code writes UTC, too.
func TestTimesAreUTCInEveryTimeZoneOfTheDatabase(t *testing.T) {
	t.Parallel()
	const zone = "America/Los_Angeles"
	for _, columnType := range []string{"timestamp", "timestamp(3)", "timestamptz"} {
		for way, options := range poolers {
			t.Run(columnType+" "+way, func(t *testing.T) {
				t.Parallel()
				db, through := newOwnDatabase(t, options,
					strings.NewReplacer("created_at timestamptz", "created_at "+columnType, "last_activity_at timestamptz", "last_activity_at "+columnType).
						Replace(schemas["uuid"]),
					`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), '`+zone+`'); END $$`)
				require.Equal(t, zone, db.query(`SELECT setting FROM pg_settings WHERE name = 'TimeZone'`), "the time zone of Verity's own sessions")
				leads := openLeads(t, verity.LeadsConfig{URL: through})
				// off returns the difference in hours between a time, as Verity's code reads it, and the current time.
				off := func(column, contact string) string {
					return db.query(`SELECT round(extract(epoch FROM `+column+`::`+columnType+` -
						CASE WHEN pg_typeof(`+column+`) = 'timestamptz'::regtype THEN now() ELSE now() AT TIME ZONE 'UTC' END) / 3600)::text
						FROM leads WHERE contact_id = $1`, contact)
				}
				contact := db.contact()
				for _, want := range []verity.Outcome{verity.LeadInserted, verity.LeadUpdated, verity.LeadUpdated} {
					result, err := leads.SyncLead(t.Context(), contact, desire("apt_"+string(want)))
					require.NoError(t, err)
					assert.Equal(t, want, result.Outcome)
					assert.Equal(t, "0", off("last_activity_at", contact))
					assert.Equal(t, "0", off("created_at", contact))
				}
				_, err := leads.SyncLead(t.Context(), contact, desire("", "apt_"+string(verity.LeadUpdated)))
				require.NoError(t, err)
				assert.Equal(t, "0", off("last_activity_at", contact))

				db.exec(`UPDATE leads SET ghl_appointment_id = 'unknown', last_activity_at = '2026-03-01 12:00:00+00'::timestamptz AT TIME ZONE 'UTC'
					WHERE contact_id = $1 AND pg_typeof(last_activity_at) <> 'timestamptz'::regtype`, contact)
				db.exec(`UPDATE leads SET ghl_appointment_id = 'unknown', last_activity_at = '2026-03-01 12:00:00+00'::timestamptz
					WHERE contact_id = $1 AND pg_typeof(last_activity_at) = 'timestamptz'::regtype`, contact)
				for _, booked := range []struct {
					at   time.Time
					want verity.Outcome
				}{
					{time.Date(2026, 3, 1, 11, 59, 0, 0, time.UTC), verity.LeadUnchanged},
					{time.Date(2026, 3, 1, 12, 1, 0, 0, time.UTC), verity.LeadUpdated},
				} {
					result, err := leads.SyncLead(t.Context(), contact, func(context.Context) (verity.Desired, error) {
						return verity.Desired{AppointmentID: "apt_1", Spare: &verity.Spare{BookedAt: booked.at}}, nil
					})
					require.NoError(t, err)
					assert.Equal(t, booked.want, result.Outcome, "a lead that was active at 12:00, and a booking at %s", booked.at)
				}
			})
		}
	}
}

func TestTheURLSetsTheTimeZoneOfColumnsWithoutOne(t *testing.T) {
	t.Parallel()
	db := newDatabase(t, schemas["bigint"])
	for _, name := range []string{"timezone", "TimeZone"} {
		contact := db.contact()
		_, err := db.in(t).open(name, "Asia/Tokyo").SyncLead(t.Context(), contact, desire("apt_1"))
		require.NoError(t, err)
		assert.Equal(t, "9", db.query(`SELECT round(extract(epoch FROM last_activity_at - now() AT TIME ZONE 'UTC') / 3600)::text
			FROM leads WHERE contact_id = $1`, contact))
	}
}
