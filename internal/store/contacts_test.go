package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dfmiddleware/verity-sync/internal/store"
)

// day is the day of these tests; at returns an hour of it.
var day = time.Date(2026, time.November, 2, 0, 0, 0, 0, time.UTC)

func at(hour int) time.Time { return day.Add(time.Duration(hour) * time.Hour) }

func TestRememberContact(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	type observation struct {
		phone, email string
		hour         int
	}
	tests := map[string]struct {
		observed     []observation
		phone, email string
	}{
		"the newer one counts": {
			[]observation{{"+12055550101", "a@example.com", 1}, {"+12055550102", "b@example.com", 2}}, "+12055550102", "b@example.com",
		},
		"an older one that arrives late does not": {
			[]observation{{"+12055550102", "b@example.com", 2}, {"+12055550101", "a@example.com", 1}}, "+12055550102", "b@example.com",
		},
		"an older one fills in missing values": {
			[]observation{{"+12055550102", "", 2}, {"+12055550101", "a@example.com", 1}}, "+12055550102", "a@example.com",
		},
		"missing values do not overwrite": {
			[]observation{{"+12055550101", "a@example.com", 1}, {"", "", 2}}, "+12055550101", "a@example.com",
		},
		"phone and e-mail have a time each": {
			[]observation{{"", "a@example.com", 1}, {"+12055550103", "", 3}, {"+12055550102", "b@example.com", 2}},
			"+12055550103", "b@example.com",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, o := range tt.observed {
				require.NoError(t, b.RememberContact(t.Context(), store.Mapping{GHLContactID: name, Phone: o.phone, Email: o.email}, at(o.hour)))
			}
			m, err := b.Mapping(t.Context(), name)
			require.NoError(t, err)
			assert.Equal(t, store.Mapping{GHLContactID: name, Phone: tt.phone, Email: tt.email}, m)
		})
	}

	t.Run("values of the legacy middleware are replaced, since their age is unknown", func(t *testing.T) {
		t.Parallel()
		b.exec(`INSERT INTO contact_mappings (ghl_contact_id, phone_number, email) VALUES ('old', '(205) 555-0101', 'a@example.com')`)
		require.NoError(t, b.RememberContact(t.Context(), store.Mapping{GHLContactID: "old", LocationID: "loc1", Phone: "+12055550102"}, at(1)))
		m, err := b.Mapping(t.Context(), "old")
		require.NoError(t, err)
		assert.Equal(t, store.Mapping{GHLContactID: "old", LocationID: "loc1", Phone: "+12055550102", Email: "a@example.com"}, m)
	})
	t.Run("an unknown contact has no mapping", func(t *testing.T) {
		t.Parallel()
		_, err := b.Mapping(t.Context(), "stranger")
		assert.ErrorIs(t, err, store.ErrNotFound)
	})
	t.Run("the newest sync wins, whichever ends last, and the returned id stays", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, b.RememberContact(t.Context(), store.Mapping{GHLContactID: "synced"}, at(1)))
		require.NoError(t, b.ContactSynced(t.Context(), "synced", store.AlowareContact{ID: "70001", Phone: "+12055550101"}, at(3)))
		require.NoError(t, b.ContactSynced(t.Context(), "synced", store.AlowareContact{Phone: "+12055550102"}, at(2)))
		m, err := b.Mapping(t.Context(), "synced")
		require.NoError(t, err)
		assert.Equal(t, "70001", m.AlowareContactID)
		assert.Equal(t, "+12055550101", m.AlowarePhone, "it is not known which contact has the other number")
		assert.True(t, m.SyncedOccurredAt.Equal(at(3)))
		assert.WithinDuration(t, time.Now(), *m.LastSyncedAt, time.Hour)
	})
}
