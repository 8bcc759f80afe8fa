package verity

import "github.com/jackc/pgx/v5/pgxpool"

// Lookups has the queries of FindContact.
var Lookups = map[string]string{"phone": findByPhone, "email": findByEmail, "lower email": findByLowerEmail}

// Pool returns the pool of l.
func (l *Leads) Pool() *pgxpool.Pool { return l.pool.Pool }

// Checks returns the names of the checks of Inspect, in the order in which it reports them.
func Checks() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}
