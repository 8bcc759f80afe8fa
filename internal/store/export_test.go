package store

import "context"

// MigrateUnchecked migrates without a check for obstacles.
func MigrateUnchecked(ctx context.Context, url string, opts MigrateOptions) error {
	db, provider, _, err := openProvider(ctx, url, opts)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // Its work is done.
	_, err = provider.Up(ctx)
	return err
}

// MigrateTo migrates up to a version, as an earlier release did.
func MigrateTo(ctx context.Context, url string, version int64, opts MigrateOptions) error {
	db, provider, _, err := openProvider(ctx, url, opts)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // Its work is done.
	_, err = provider.UpTo(ctx, version)
	return err
}

// MigrationLock is the key of a migration's lock.
var MigrationLock = migrationLock

// NeedsOf returns the privileges that a process uses, as pairs of a table and a privilege.
func NeedsOf(process Process) (tables, privileges []string) { return needsOf(process) }

// Queued returns the number of deliveries that wait for a transaction.
func (w *Writer) Queued() int { return len(w.queue) }
