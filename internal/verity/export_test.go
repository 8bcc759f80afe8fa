package verity

import "github.com/jackc/pgx/v5/pgxpool"

// Lookups has the queries of FindContact.
var Lookups = map[string]string{"phone": findByPhone, "email": findByEmail, "lower email": findByLowerEmail}

// Pool returns the pool of l.
func (l *Leads) Pool() *pgxpool.Pool { return l.pool.Pool }
