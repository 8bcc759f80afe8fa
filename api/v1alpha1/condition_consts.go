package v1alpha1

// Labels on a WebhookEvent. A value that would not be valid as a label is left out.
const (
	SourceLabel     = "webhooks.dfmiddleware.io/source"
	EventTypeLabel  = "webhooks.dfmiddleware.io/event-type"
	EntityTypeLabel = "webhooks.dfmiddleware.io/entity-type"
	LocationLabel   = "webhooks.dfmiddleware.io/location"
	// InstallationLabel has the id of the installation (of its database) that a WebhookEvent or a lease belongs to, so that
	// installations in one namespace leave each other's alone. WebhookEvents that 0.1.0 created have none.
	InstallationLabel = "webhooks.dfmiddleware.io/installation"
	// HeartbeatAnnotation has the latest heartbeat of the database on the lease of the leader election. A database that has
	// an earlier one has gone back to an earlier moment.
	HeartbeatAnnotation = "webhooks.dfmiddleware.io/database-heartbeat"
)

// Annotations that ask for something.
const (
	// ReplayRequestedAtAnnotation on a finished WebhookEvent runs it again. Any value that differs from
	// status.lastHandledReplay is a request; a timestamp is the custom. A request on an unfinished one is served when its
	// run ends.
	ReplayRequestedAtAnnotation = "webhooks.dfmiddleware.io/replay-requested-at"
	// ReplayFromAnnotation with the value ReplayFromStart, in any case, makes a replay repeat what earlier runs have already
	// done. It counts as it is when the replay begins; a replay with any other value is refused.
	ReplayFromAnnotation = "webhooks.dfmiddleware.io/replay-from"
	// ReplayFromStart is the value of ReplayFromAnnotation that repeats every step.
	ReplayFromStart = "start"
)

// ReadyCondition is True when the event is done. Its reason and message are what to read first: where the event
// stands, why, and what happens next.
const (
	ReadyCondition = "Ready"

	// DoneReason (True) surfaces when everything that the event asks for has been done and recorded.
	DoneReason = "Done"
	// QueuedReason (False) surfaces when an attempt is due and has not begun yet.
	QueuedReason = "Queued"
	// ProcessingReason (False) surfaces while an attempt is under way.
	ProcessingReason = "Processing"
	// RetryScheduledReason (False) surfaces when an attempt failed and another one will be made; the message names
	// what failed and when the next attempt is due.
	RetryScheduledReason = "RetryScheduled"
	// DestinationUnavailableReason (False) surfaces when a destination answers nobody, or asked for a pause. The
	// event waits for it, and the wait does not use up its attempts.
	DestinationUnavailableReason = "DestinationUnavailable"
	// WaitingForCapacityReason (False) surfaces when as many calls to a destination are under way as are allowed at a time.
	// The event goes on when its turn comes, and the wait does not use up its attempts.
	WaitingForCapacityReason = "WaitingForCapacity"
	// WaitingForOlderEventReason (False) surfaces when an older event of the same entity is not finished. The event
	// goes on as soon as that one is done or in error.
	WaitingForOlderEventReason = "WaitingForOlderEvent"
	// NotCreatedReason surfaces in the column reason of webhook_events when the API server refuses to create the
	// WebhookEvent, for instance because an admission policy denies it. The row waits, and the WebhookEvent is created as
	// soon as it is admitted.
	NotCreatedReason = "NotCreated"
	// SuspendedReason (False) surfaces when spec.suspend is true. Nothing happens until it is false.
	SuspendedReason = "Suspended"
	// AttemptsExhaustedReason (False) surfaces when the last attempt allowed has failed. The event stays in phase
	// Error until it is replayed.
	AttemptsExhaustedReason = "AttemptsExhausted"
	// RejectedReason (False) surfaces when a destination refused this very event, so that another attempt could not
	// succeed. The event stays in phase Error until it is replayed.
	RejectedReason = "Rejected"
	// InvalidPayloadReason (False) surfaces when the payload lacks what the event's type requires.
	InvalidPayloadReason = "InvalidPayload"
	// UnparseableReason (False) surfaces when the body of the webhook cannot be read, because a value broke its JSON or its
	// form. The event is stored as it came and not forwarded; a replay ends in the same way.
	UnparseableReason = "Unparseable"
	// LocationUnknownReason (False) surfaces when GoHighLevel must be asked and it is not known on behalf of which
	// location, there is no token for that location, or GoHighLevel refuses the token for it.
	LocationUnknownReason = "LocationUnknown"
	// ContactNotFoundReason (False) surfaces when no contact of Verity matches the event's, after all attempts.
	ContactNotFoundReason = "ContactNotFound"
	// RowNotFoundReason (False) surfaces when the database has no row for the event: the object was made by hand, or
	// its row was removed. It can be deleted.
	RowNotFoundReason = "RowNotFound"
	// RowLostReason (False) surfaces when the row of an unfinished event is missing, because the database was restored to an
	// earlier moment, a failover lost the row, or it was deleted. The object stays until a user deletes it.
	RowLostReason = "RowLost"

	// ErasedReason (False) surfaces when the data of the event was erased before the event was done. Nothing more happens. On
	// ReplayRefused it is True and surfaces when a replay of an event is requested whose data was erased.
	ErasedReason = "Erased"
)

// ForwardedCondition says whether Verity has received the webhook.
const (
	ForwardedCondition = "Forwarded"

	// ForwardedReason (True) surfaces when Verity answered the webhook with success.
	ForwardedReason = "Forwarded"
	// ForwardNotConfiguredReason (True) surfaces when VERITY_BASE_URL is not set: there is nowhere to forward to.
	ForwardNotConfiguredReason = "NotConfigured"
	// ForwardedByPredecessorReason (True) surfaces on events that were taken over from the earlier middleware, which
	// forwarded them when they came in.
	ForwardedByPredecessorReason = "ForwardedByPredecessor"
	// ForwardFailedReason (False) surfaces when the last attempt to forward failed; the message says how.
	ForwardFailedReason = "ForwardFailed"
)

// SyncedCondition says whether the event is reflected where its entity lives: appointments in Verity's leads, contacts
// in Aloware.
const (
	SyncedCondition = "Synced"

	// SyncedReason (True) surfaces when the sync was carried out; status.result says what it did.
	SyncedReason = "Synced"
	// SyncSkippedReason (True) surfaces when there was nothing to sync; the message says why.
	SyncSkippedReason = "Skipped"
	// SyncFailedReason (False) surfaces when the last attempt to sync failed; the message says how.
	SyncFailedReason = "SyncFailed"
)

// ReplayRefusedCondition is True where the last request for a replay, status.lastHandledReplay, was refused: the event did
// not run again. It is absent where that request was served.
const (
	ReplayRefusedCondition = "ReplayRefused"

	// UnknownReplayFromReason (True) surfaces when the annotation replay-from has a value that means nothing.
	UnknownReplayFromReason = "UnknownReplayFrom"
)

// The kstatus pair, present only while true, so that generic tools can tell progress from a halt.
const (
	// ReconcilingCondition is True while the event is on its way to Done.
	ReconcilingCondition = "Reconciling"
	// StalledCondition is True when the event is in phase Error and nothing will happen without a person.
	StalledCondition = "Stalled"
)
