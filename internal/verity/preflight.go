package verity

import (
	"time"

	"github.com/dfmiddleware/verity-sync/internal/database"
)

// Database returns the pool, for the checks of its connection.
func (l *Leads) Database() *database.Pool { return l.pool }

// Timeouts returns the timeouts that verity-sync sets for its sessions in Verity's database, by name.
func Timeouts() map[string]time.Duration {
	timeouts := map[string]time.Duration{}
	for name, value := range sessionSettings {
		if timeout, err := time.ParseDuration(value); err == nil { // The other settings are not durations.
			timeouts[name] = timeout
		}
	}
	return timeouts
}
