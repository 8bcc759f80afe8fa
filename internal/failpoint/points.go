// Package failpoint names the places at which a process may die between two steps, and lets a test have it die there.
//
// A binary that is built with the tag failpoints kills itself with SIGKILL at a point that is armed: no deferred call, no
// flush and no rollback of its own stands between the point and the end, as when the kernel or a kubelet ends it. Without
// the tag Hit is an empty function, and the compiler leaves nothing of it.
//
// A point is armed while the processes run, by a file of its name in the directory that the environment variable FAILPOINTS
// names. Whoever reaches the point first renames the file and dies, so that of all replicas one dies, once, and goes on when
// it is started again.
//
// The libraries for this are etcd's gofail and PingCAP's failpoint. Both rewrite the sources before the build, in place or
// by a wrapper of the compiler, which does not go together with tests that build while others read, and both count within
// one process, so that a process that is started again dies again. Neither has an action that is as abrupt as SIGKILL.
package failpoint

// Point is a place between two steps.
type Point string

// The points of a receiver, in the order of a webhook's way through it.
const (
	// ReceiverAccepted is reached when the headers of a request are in, and nothing of its body has been read.
	ReceiverAccepted Point = "receiver-accepted"
	// ReceiverRead is reached when the body is in, and nobody knows who sent it.
	ReceiverRead Point = "receiver-read"
	// ReceiverVerified is reached when it is known who sent what, and nothing is stored.
	ReceiverVerified Point = "receiver-verified"
	// WriterInserted is reached within a transaction whose rows are in and which is not committed. A batch in which every
	// delivery has an id of its own has no such moment: it is one statement.
	WriterInserted Point = "writer-inserted"
	// WriterCommitted is reached when a batch is committed, and none of those who wait for it knows.
	WriterCommitted Point = "writer-committed"
	// ReceiverCommitted is reached when a delivery is known to be stored, and not answered.
	ReceiverCommitted Point = "receiver-committed"
	// WriterAnswered is reached when those who wait for a batch have been told, and the relay has not.
	WriterAnswered Point = "writer-answered"
	// RelayTaken is reached when the relay has taken a row to make its WebhookEvent.
	RelayTaken Point = "relay-taken"
	// RelayCreated is reached when the API server has the WebhookEvent, and the relay has taken no note of that.
	RelayCreated Point = "relay-created"
	// RelayMarking is reached when rows are about to be marked as dispatched.
	RelayMarking Point = "relay-marking"
	// RelayMarked is reached when rows are marked as dispatched.
	RelayMarked Point = "relay-marked"
	// RelayLeased is reached when a replica has the lease for the rows that were left behind, and has relayed none.
	RelayLeased Point = "relay-leased"
	// RelaySwept is reached when rows that were left behind have their WebhookEvents, and are not marked.
	RelaySwept Point = "relay-swept"
)

// The points of a controller.
const (
	// TermAcquired is reached when a new leader has begun its term, and claimed nothing under it.
	TermAcquired Point = "controller-term-taken"
	// Claimed is reached when an attempt is claimed, and is not shown as Processing.
	Claimed Point = "controller-claimed"
	// Shown is reached when the attempt is shown as Processing, and nothing of it is done.
	Shown Point = "controller-shown"
	// Forwarded is reached when Verity has answered a forward, and the ledger does not have it.
	Forwarded Point = "operation-forwarded"
	// LeadMerged is reached when what an event says of an appointment is kept, and no contact has been looked for.
	LeadMerged Point = "operation-lead-merged"
	// LeadAttached is reached when it is kept whose the appointment is, and the lead does not follow yet.
	LeadAttached Point = "operation-lead-attached"
	// LeadWritten is reached within the transaction in Verity's database, when the lead is written and not committed.
	LeadWritten Point = "operation-lead-written"
	// LeadCommitted is reached when Verity's database has the lead, and verity-sync's own does not know.
	LeadCommitted Point = "operation-lead-committed"
	// TagsAdded is reached when GoHighLevel has the tags, and the ledger does not have that.
	TagsAdded Point = "operation-tags-added"
	// ContactSent is reached when Aloware has the contact, and verity-sync's own database does not know.
	ContactSent Point = "operation-contact-sent"
	// Attempted is reached when everything that an event asks for is done, and nothing of it is in the ledger.
	Attempted Point = "controller-attempted"
	// Recorded is reached when ledger and row say how an attempt ended, and the WebhookEvent does not.
	Recorded Point = "controller-recorded"
	// OutcomeShown is reached when the WebhookEvent says how an attempt ended.
	OutcomeShown Point = "controller-outcome-shown"
	// Expired is reached when a finished WebhookEvent was deleted at the end of its time.
	Expired Point = "controller-expired"
	// ReplayRaised is reached when the row of a replayed event has a new run, and its WebhookEvent says that it is finished.
	ReplayRaised Point = "controller-replay-raised"
	// Undispatched is reached when the WebhookEvent of an unfinished row, which was deleted, is asked for again.
	Undispatched Point = "controller-undispatched"
	// Parked is reached when waiting events are taken back into the database, and their WebhookEvents are still there.
	Parked Point = "housekeeping-parked"
	// RetentionRemoved is reached when a batch of old rows is removed, of several.
	RetentionRemoved Point = "retention-removed"
)

// The points of the tools for the database.
const (
	// MigrationBegun is reached when the tables are there, and adopted rows are about to be normalised.
	MigrationBegun Point = "migration-begun"
	// MigrationDone is reached within the transaction of that, at its end.
	MigrationDone Point = "migration-done"
	// ReplayBatch is reached when a batch of rows has a new run, and nobody was told to look for them.
	ReplayBatch Point = "replay-batch-raised"
)

// All returns every point. A test that runs through them has to know when it has forgotten one.
func All() []Point {
	return []Point{
		ReceiverAccepted, ReceiverRead, ReceiverVerified, WriterInserted, WriterCommitted, ReceiverCommitted, WriterAnswered,
		RelayTaken, RelayCreated, RelayMarking, RelayMarked, RelayLeased, RelaySwept,
		TermAcquired, Claimed, Shown, Forwarded, LeadMerged, LeadAttached, LeadWritten, LeadCommitted, TagsAdded, ContactSent,
		Attempted, Recorded, OutcomeShown, Expired, ReplayRaised, Undispatched, Parked, RetentionRemoved,
		MigrationBegun, MigrationDone, ReplayBatch,
	}
}
