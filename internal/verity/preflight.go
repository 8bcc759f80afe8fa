package verity

import (
	"time"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// Database gives access to the pool, for the checks of its connection.
func (l *Leads) Database() *database.Pool { return l.pool }

// Timeouts are those that verity-sync sets in Verity's database, by name.
func Timeouts() map[string]time.Duration {
	timeouts := map[string]time.Duration{}
	for name, value := range sessionSettings {
		if timeout, err := time.ParseDuration(value); err == nil { // The others are no durations.
			timeouts[name] = timeout
		}
	}
	return timeouts
}
