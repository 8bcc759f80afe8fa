package database

import (
	"fmt"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// UninheritedRoles returns SQL for the names of the roles of which the current one is a member without having their privileges (NOINHERIT),
// and for which a condition about g.oid holds. A superuser is not among them.
func UninheritedRoles(condition string) string {
	return `ARRAY(SELECT g.rolname::text FROM pg_roles g WHERE NOT g.rolsuper AND pg_has_role(g.oid, 'MEMBER')
		AND NOT pg_has_role(g.oid, 'USAGE') AND ` + condition + ` ORDER BY 1)`
}

// inheritByGrant is the version of Postgres, as server_version_num has it, from which on each membership says whether it is inherited.
const inheritByGrant = 160000

// OrInherit returns statement, and what does the same where role is a member, without inheriting, of one of groups.
func OrInherit(statement, role string, groups []string, version int) string {
	if len(groups) == 0 {
		return statement
	}
	member, group := Quote(role), Quote(groups[0])
	inherit := fmt.Sprintf("ALTER ROLE %s INHERIT", member)
	if version >= inheritByGrant {
		inherit = fmt.Sprintf("GRANT %s TO %s WITH INHERIT TRUE", group, member)
	}
	return fmt.Sprintf("%s, or, as the role is a member of %s and does not inherit its privileges, run %s or ALTER ROLE %s SET role = %s",
		statement, groups[0], inherit, member, group)
}

// PolicyAdvice says how row security comes to show a role all rows of a relation, both as they stand in SQL. Restrictive policies limit
// it, and where permitted is false no permissive policy shows every row.
func PolicyAdvice(role, relation string, permitted bool, restrictive []string) string {
	ways := []string{fmt.Sprintf("ALTER ROLE %s BYPASSRLS", role)}
	var policies []string
	for _, name := range restrictive {
		policies = append(policies,
			fmt.Sprintf("ALTER POLICY %s ON %s TO other roles than %s, since it is restrictive", Quote(name), relation, role))
	}
	if !permitted {
		policies = append(policies, fmt.Sprintf("CREATE POLICY verity_sync ON %s TO %s USING (true) WITH CHECK (true)", relation, role))
	}
	return strings.Join(append(ways, preflight.InWords(policies)), ", or ")
}
