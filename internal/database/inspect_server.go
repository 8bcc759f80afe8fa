package database

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dfmiddleware/verity-sync/internal/preflight"
)

func (i *inspector) writable() preflight.Finding {
	f := preflight.Finding{
		Database: i.Database, Severity: preflight.Error, Check: checkWritable, MayPass: true,
	}
	nothing := i.or("nothing can be stored, and webhooks are answered 429", "no lead can be written, and events wait")
	set := i.settings["default_transaction_read_only"]
	switch {
	case i.facts.recovery:
		f.Message = "the server is a standby (in recovery), which is read-only: " + nothing
		f.Action = "connect to the primary, or name all hosts in the URL with target_session_attrs=read-write; " +
			"after a failover, this passes by itself"
	case !i.facts.readOnly:
		return i.ok(checkWritable, "transactions can write")
	default:
		f.Message = fmt.Sprintf("transactions are read-only (SQLSTATE 25006), since default_transaction_read_only is on, set %s: %s",
			set.SetBy(), nothing)
		f.Action = set.Reset("off")
		if f.MayPass = !set.ofClient(); f.MayPass {
			f.Action += "; a provider may have set it because the disk is full, or during a failover"
		}
	}
	return f
}

// Versions of Postgres, as in server_version_num. The migrations need gen_random_uuid(), which is built in since 13. The queries in
// Verity's database need MATERIALIZED.
const (
	oldestMiddleware = 130000
	oldestVerity     = 120000
	oldestSupported  = 140000
	tested           = 15
)

func (i *inspector) serverVersion() preflight.Finding {
	oldest := oldestMiddleware
	if i.Database == preflight.Verity {
		oldest = oldestVerity
	}
	version := "Postgres " + i.facts.versionName
	switch {
	case i.facts.version < oldest:
		return i.problem(preflight.Error, checkServerVersion,
			fmt.Sprintf("%s is too old: the queries need %d or later", version, oldest/10000), "upgrade to Postgres 14 or later")
	case i.facts.version < oldestSupported:
		return i.problem(preflight.Warning, checkServerVersion,
			version+" is not supported: the next release of verity-sync may need a later version", "upgrade to Postgres 14 or later")
	case i.facts.version >= (tested+1)*10000:
		return i.problem(preflight.Warning, checkServerVersion,
			fmt.Sprintf("verity-sync is tested with Postgres %d and not with %s; no problem is known", tested, i.facts.versionName), "")
	default:
		return i.ok(checkServerVersion, "%s", version)
	}
}

func (i *inspector) encoding() preflight.Finding {
	const utf8, none = "UTF8", "SQL_ASCII"
	server, client := i.settings["server_encoding"].Value, i.settings["client_encoding"]
	switch {
	case server != utf8 && i.Database == preflight.Middleware:
		return i.problem(preflight.Error, checkEncoding, "the database has the encoding "+server+", and payloads need UTF8",
			"create a database with ENCODING 'UTF8' TEMPLATE template0; dump this one and restore it there")
	case client.Value != utf8 && client.Value != none && server != none: // Without an encoding, nothing is converted.
		action := "add client_encoding=UTF8 to the URL"
		switch {
		case client.ofClient():
			action = client.Set(utf8)
		case server != utf8:
		default:
			action += ", or " + client.Reset(utf8)
		}
		return i.problem(i.fatalForOwn(), checkEncoding,
			fmt.Sprintf("client_encoding is %s, set %s, and verity-sync sends UTF8: %s", client.Value, client.SetBy(),
				i.or("payloads with non-ASCII characters are refused or altered",
					"contacts with non-ASCII characters in their e-mail address are not found")),
			action)
	case server != utf8:
		return i.problem(preflight.Warning, checkEncoding,
			"the database has the encoding "+server+": an e-mail address with characters that it lacks finds no contact", "")
	default:
		return i.ok(checkEncoding, "server and client use UTF8")
	}
}

// isolation checks the default isolation level. It applies to single statements, and to the transactions of the receiver.
func (i *inspector) isolation() preflight.Finding {
	const name, readCommitted = "default_transaction_isolation", "read committed"
	level := i.settings[name]
	if level.Value == readCommitted {
		return i.ok(checkIsolation, "transactions are read committed")
	}
	return i.problem(preflight.Warning, checkIsolation,
		fmt.Sprintf("%s is %s, set %s: concurrent changes of a row fail with SQLSTATE 40001, %s", name, level.Value, level.SetBy(),
			i.or("so that webhooks are answered 429 under load, and attempts are repeated", "so that leads are written later")),
		level.Reset(readCommitted))
}

// timeouts finds timeouts that end work before verity-sync would. A timeout in the URL is intended, and not reported.
func (i *inspector) timeouts() preflight.Finding {
	var short, remedies []string
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"} {
		s, known := i.settings[name]
		ms, err := strconv.ParseInt(s.Value, 10, 64)
		if !known || err != nil || ms == 0 || s.source == "client" {
			continue
		}
		own := name
		if name == "transaction_timeout" { // It must allow a whole statement; verity-sync sets none.
			own = "statement_timeout"
		}
		if took := time.Duration(ms) * time.Millisecond; len(i.Timeouts) == 0 || took < i.Timeouts[own] {
			short = append(short, fmt.Sprintf("%s is %s, set %s", name, took, s.SetBy()))
			remedies = append(remedies, s.Reset("0"))
		}
	}
	if len(short) == 0 {
		return i.ok(checkTimeouts, "the server, the database and the role have no timeout that is shorter than verity-sync's own")
	}
	consequence := "statements that take longer fail and are repeated"
	if len(i.Timeouts) == 0 {
		consequence = "a migration that takes longer fails"
	}
	return i.problem(preflight.Warning, checkTimeouts, strings.Join(short, "; ")+": "+consequence, strings.Join(remedies, "; "))
}

// durability finds settings with which a confirmed commit can be lost.
func (i *inspector) durability() preflight.Finding {
	var found, remedies []string
	commit := i.settings["synchronous_commit"]
	standbys := i.settings["synchronous_standby_names"].Value
	if commit.Value == "off" || standbys != "" && (commit.Value == "local" || commit.Value == "remote_write") {
		found = append(found, fmt.Sprintf("synchronous_commit is %s, set %s", commit.Value, commit.SetBy()))
		if commit.ofClient() || commit.source == "database user" { // These override a setting of the role.
			remedies = append(remedies, commit.Reset("on"))
		} else {
			remedies = append(remedies, commit.Set("on"))
		}
	}
	for _, name := range []string{"fsync", "full_page_writes"} {
		if s := i.settings[name]; s.Value == "off" {
			found = append(found, name+" is off")
			remedies = append(remedies, s.Reset("on"))
		}
	}
	if len(found) == 0 {
		return i.ok(checkDurability, "committed transactions survive a crash of the server")
	}
	lost := i.or("a webhook that was answered 200 can be lost when the server crashes or fails over",
		"a lead that was written can be lost when the server crashes or fails over, while its event is Done")
	return i.problem(preflight.Warning, checkDurability, strings.Join(found, "; ")+": "+lost, strings.Join(remedies, "; "))
}

// fatalForOwn returns Error for the middleware database, and Warning for Verity's, where less depends on it.
func (i *inspector) fatalForOwn() preflight.Severity {
	if i.Database == preflight.Verity {
		return preflight.Warning
	}
	return preflight.Error
}
