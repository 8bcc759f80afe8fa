package database

import (
	"fmt"
	"strings"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

// UninheritedRoles returns SQL for the names of the roles that the current role is a member of, but whose privileges it does not inherit
// (NOINHERIT), and that meet a condition about g.oid. Superusers are excluded.
func UninheritedRoles(condition string) string {
	return `ARRAY(SELECT g.rolname::text FROM pg_roles g WHERE NOT g.rolsuper AND pg_has_role(g.oid, 'MEMBER')
		AND NOT pg_has_role(g.oid, 'USAGE') AND ` + condition + ` ORDER BY 1)`
}

// inheritByGrant is the first version of Postgres, as in server_version_num, in which inheritance is an option of each membership.
const inheritByGrant = 160000

// OrInherit returns statement, and the alternatives to it if role is a member of one of groups and does not inherit its privileges.
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

// PolicyAdvice returns how to show a role all rows of a relation despite row security. The role and the relation are quoted for SQL. The
// restrictive policies limit the role; permitted is false if no permissive policy shows it every row.
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
