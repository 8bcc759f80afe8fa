package source_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/source"
)

func TestEverySourceReadsItsStoredEvents(t *testing.T) {
	t.Parallel()
	const payload = `{"type":"ContactUpdate","id":"contact-1","phone":"+12055550142"}`
	names := map[string]bool{}
	for _, name := range event.Sources {
		assert.False(t, names[name], "%s is listed twice", name)
		names[name] = true
		assert.Empty(t, validation.IsDNS1123Label(name), name)
		assert.LessOrEqual(t, len(name), 32, name)
		e, err := source.Of(name).Normalise([]byte(payload), time.Now())
		require.NoError(t, err, name)
		assert.Equal(t, name, e.Source, "each source has a reader")
	}
}

func TestRowsOfAnUnlistedSourceAreReadAsGoHighLevels(t *testing.T) {
	t.Parallel()
	const payload = `{"type":"ContactUpdate","id":"contact-1","phone":"+12055550142"}`
	content, err := source.Of("import").Content([]byte(payload), event.Event{EntityType: event.EntityContact}, time.Now())
	require.NoError(t, err)
	assert.Equal(t, []string{"+12055550142"}, content.Reach.Phones)
}

func TestTypesAreKnownByAnySourcesSpelling(t *testing.T) {
	t.Parallel()
	for spelling, want := range map[string]string{
		"AppointmentCreate": "appointment.created", "appointment.created": "appointment.created", "Consultation": "Consultation", "": "",
	} {
		assert.Equal(t, want, source.TypeOf(spelling), spelling)
	}
}
