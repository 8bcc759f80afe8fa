// Package failpoint names the points between two steps at which a process may die, and lets a test kill it there.
//
// A binary with the build tag failpoints kills itself with SIGKILL at an armed point. No deferred call, no flush and no rollback runs, as
// when the kernel or a kubelet kills it. Without the tag, Hit is an empty function that the compiler removes.
//
// A test arms a point while the processes run, by a file with the point's name in the directory of the environment variable FAILPOINTS. The
// first process that reaches the point renames the file and dies. So one replica dies, once, and works normally after its restart.
//
// The libraries for this are etcd's gofail and PingCAP's failpoint. Both rewrite the sources before the build, in place or by a compiler
// wrapper, which conflicts with parallel builds of tests. Both count within one process, so a restarted process dies again. Neither has an
// action as abrupt as SIGKILL.
package failpoint

// Point is a point between two steps.
type Point string

// The points of a receiver, in the order in which a webhook passes them.
const (
	// ReceiverAccepted is after the headers of a request, before its body is read.
	ReceiverAccepted Point = "receiver-accepted"
	// ReceiverRead is after the body is read, before it is authenticated.
	ReceiverRead Point = "receiver-read"
	// ReceiverVerified is after the webhook is accepted, before it is stored.
	ReceiverVerified Point = "receiver-verified"
	// WriterInserted is within a transaction, after its rows are inserted. A batch in which every delivery has its own id does not reach
	// it: it is one statement.
	WriterInserted Point = "writer-inserted"
	// WriterCommitted is after the commit of a batch, before the waiting requests are notified.
	WriterCommitted Point = "writer-committed"
	// ReceiverCommitted is after a delivery is stored, before it is answered.
	ReceiverCommitted Point = "receiver-committed"
	// WriterAnswered is after the waiting requests are notified, before the relay is.
	WriterAnswered Point = "writer-answered"
	// RelayTaken is after the relay takes a row, before it creates the WebhookEvent.
	RelayTaken Point = "relay-taken"
	// RelayCreated is after the WebhookEvent is created, before the relay notes that.
	RelayCreated Point = "relay-created"
	// RelayMarking is before rows are marked as dispatched.
	RelayMarking Point = "relay-marking"
	// RelayMarked is after rows are marked as dispatched.
	RelayMarked Point = "relay-marked"
	// RelayLeased is after a replica acquires the lease for orphaned rows, before it relays any.
	RelayLeased Point = "relay-leased"
	// RelaySwept is after orphaned rows have WebhookEvents, before they are marked.
	RelaySwept Point = "relay-swept"
)

// The points of a controller.
const (
	// TermAcquired is after a new leader acquires its term, before its first claim.
	TermAcquired Point = "controller-term-taken"
	// Claimed is after an attempt is claimed, before the status is Processing.
	Claimed Point = "controller-claimed"
	// Shown is after the status is Processing, before the first operation.
	Shown Point = "controller-shown"
	// Forwarded is after Verity has answered a forward, before the ledger has it.
	Forwarded Point = "operation-forwarded"
	// LeadMerged is after the event is merged into its appointment, before the contact is looked up.
	LeadMerged Point = "operation-lead-merged"
	// LeadAttached is after the appointment's contact is stored, before the lead is written.
	LeadAttached Point = "operation-lead-attached"
	// LeadWritten is within the transaction in Verity's database, after the lead is written.
	LeadWritten Point = "operation-lead-written"
	// LeadCommitted is after the lead is committed in Verity's database, before verity-sync's database has that.
	LeadCommitted Point = "operation-lead-committed"
	// TagsAdded is after GoHighLevel has the tags, before the ledger has that.
	TagsAdded Point = "operation-tags-added"
	// ContactSent is after Aloware has the contact, before verity-sync's database has that.
	ContactSent Point = "operation-contact-sent"
	// WebhookSent is after the webhook sink has the event, before the ledger has that.
	WebhookSent Point = "operation-webhook-sent"
	// Attempted is after all operations, before the ledger has them.
	Attempted Point = "controller-attempted"
	// Recorded is after the end of an attempt is recorded, before the status shows it.
	Recorded Point = "controller-recorded"
	// OutcomeShown is after the status shows the end of an attempt.
	OutcomeShown Point = "controller-outcome-shown"
	// Expired is after a finished WebhookEvent is deleted at its TTL.
	Expired Point = "controller-expired"
	// ReplayRaised is after the row of a replayed event has a new run, before the status shows it.
	ReplayRaised Point = "controller-replay-raised"
	// Undispatched is after the relay is asked to recreate the deleted WebhookEvent of an unfinished row.
	Undispatched Point = "controller-undispatched"
	// Parked is after waiting events are parked, before their WebhookEvents are deleted.
	Parked Point = "housekeeping-parked"
	// RetentionRemoved is after one of several batches of old rows is deleted.
	RetentionRemoved Point = "retention-removed"
)

// The points of the tools for the database.
const (
	// MigrationBegun is after the tables exist, before adopted rows are normalised.
	MigrationBegun Point = "migration-begun"
	// MigrationDone is at the end of that transaction.
	MigrationDone Point = "migration-done"
	// ReplayBatch is after a batch of rows has a new run, before the relay is notified.
	ReplayBatch Point = "replay-batch-raised"
)

// All returns every point, so that a test can check that it covers all of them.
func All() []Point {
	return []Point{
		ReceiverAccepted, ReceiverRead, ReceiverVerified, WriterInserted, WriterCommitted, ReceiverCommitted, WriterAnswered,
		RelayTaken, RelayCreated, RelayMarking, RelayMarked, RelayLeased, RelaySwept,
		TermAcquired, Claimed, Shown, Forwarded, LeadMerged, LeadAttached, LeadWritten, LeadCommitted, TagsAdded, ContactSent, WebhookSent,
		Attempted, Recorded, OutcomeShown, Expired, ReplayRaised, Undispatched, Parked, RetentionRemoved,
		MigrationBegun, MigrationDone, ReplayBatch,
	}
}
