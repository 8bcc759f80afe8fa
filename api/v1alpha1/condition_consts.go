package v1alpha1

// Labels on a WebhookEvent. A value that would not be valid as a label is left out.
const (
	SourceLabel     = "webhooks.dfmiddleware.io/source"
	EventTypeLabel  = "webhooks.dfmiddleware.io/event-type"
	EntityTypeLabel = "webhooks.dfmiddleware.io/entity-type"
	LocationLabel   = "webhooks.dfmiddleware.io/location"
	// InstallationLabel has the id of the installation (of its database) that a WebhookEvent or a lease belongs to. It
	// separates installations that share a namespace. WebhookEvents that 0.1.0 created have none.
	InstallationLabel = "webhooks.dfmiddleware.io/installation"
	// HeartbeatAnnotation, on the lease of the leader election, has the latest heartbeat of the database. A database with
	// an earlier heartbeat was rolled back.
	HeartbeatAnnotation = "webhooks.dfmiddleware.io/database-heartbeat"
)

// Annotations that request an action.
const (
	// ReplayRequestedAtAnnotation on a finished WebhookEvent runs it again. Any value that differs from
	// status.lastHandledReplay is a request; use a timestamp. A request on an unfinished WebhookEvent is served when its run
	// ends.
	ReplayRequestedAtAnnotation = "webhooks.dfmiddleware.io/replay-requested-at"
	// ReplayFromAnnotation with the value ReplayFromStart, in upper or lower case, makes a replay repeat the operations that
	// earlier runs completed. The controller reads it when the replay starts, and refuses a replay with any other value.
	ReplayFromAnnotation = "webhooks.dfmiddleware.io/replay-from"
	// ReplayFromStart is the value of ReplayFromAnnotation that repeats every operation.
	ReplayFromStart = "start"
)

// ReadyCondition is True when the event is done. Read its reason and message first: they say where the event stands, why,
// and what happens next.
const (
	ReadyCondition = "Ready"

	// DoneReason (True) surfaces when every operation of the event is done and recorded.
	DoneReason = "Done"
	// QueuedReason (False) surfaces when an attempt is due and has not started.
	QueuedReason = "Queued"
	// ProcessingReason (False) surfaces while an attempt is in progress.
	ProcessingReason = "Processing"
	// RetryScheduledReason (False) surfaces when an attempt failed and another one follows; the message says what failed and
	// when the next attempt is due.
	RetryScheduledReason = "RetryScheduled"
	// DestinationUnavailableReason (False) surfaces when a destination is down, or asked for a pause. The event waits for the
	// destination, and the attempt does not count.
	DestinationUnavailableReason = "DestinationUnavailable"
	// WaitingForCapacityReason (False) surfaces when the concurrency limit of a destination is reached. The event continues
	// when a slot is free, and the attempt does not count.
	WaitingForCapacityReason = "WaitingForCapacity"
	// WaitingForOlderEventReason (False) surfaces when an older event of the same entity is not finished. The event
	// continues when the older one is Done or Error.
	WaitingForOlderEventReason = "WaitingForOlderEvent"
	// NotCreatedReason surfaces in the column reason of webhook_events when the API server refuses to create the
	// WebhookEvent, for instance because an admission policy denies it. The relay tries again until the WebhookEvent is
	// admitted.
	NotCreatedReason = "NotCreated"
	// SuspendedReason (False) surfaces when spec.suspend is true. Nothing happens until it is false.
	SuspendedReason = "Suspended"
	// AttemptsExhaustedReason (False) surfaces when the last allowed attempt failed. The event stays in phase
	// Error until it is replayed.
	AttemptsExhaustedReason = "AttemptsExhausted"
	// RejectedReason (False) surfaces when a destination refused this event, so another attempt cannot succeed. The event
	// stays in phase Error until it is replayed.
	RejectedReason = "Rejected"
	// InvalidPayloadReason (False) surfaces when the payload lacks a field that the event's type requires.
	InvalidPayloadReason = "InvalidPayload"
	// UnparseableReason (False) surfaces when the body of the webhook does not parse, because a value broke its JSON or its
	// form. The body is stored unchanged and not forwarded; a replay fails the same way.
	UnparseableReason = "Unparseable"
	// LocationUnknownReason (False) surfaces when the event needs GoHighLevel's API and the event names no location, there is
	// no token for its location, or GoHighLevel refuses the token.
	LocationUnknownReason = "LocationUnknown"
	// ContactNotFoundReason (False) surfaces when no contact of Verity matches the event after all attempts.
	ContactNotFoundReason = "ContactNotFound"
	// RowNotFoundReason (False) surfaces when the database has no row for the event: a user created the object, or the row
	// was deleted. You can delete the object.
	RowNotFoundReason = "RowNotFound"
	// RowLostReason (False) surfaces when the row of an unfinished event is missing, because the database was restored to an
	// earlier moment, a failover lost the row, or it was deleted. The object stays until a user deletes it.
	RowLostReason = "RowLost"

	// ErasedReason (False) surfaces when the data of the event was erased before the event was done. The event does not run
	// again. On ReplayRefused it is True, and surfaces when the data of the replayed event was erased.
	ErasedReason = "Erased"
)

// ForwardedCondition says whether Verity has received the webhook.
const (
	ForwardedCondition = "Forwarded"

	// ForwardedReason (True) surfaces when Verity answered the webhook with success.
	ForwardedReason = "Forwarded"
	// ForwardNotConfiguredReason (True) surfaces when VERITY_BASE_URL is not set, so events are not forwarded.
	ForwardNotConfiguredReason = "NotConfigured"
	// ForwardedByPredecessorReason (True) surfaces on events that were adopted from the legacy middleware, which had
	// forwarded them.
	ForwardedByPredecessorReason = "ForwardedByPredecessor"
	// ForwardFailedReason (False) surfaces when the last attempt to forward failed; the message says why.
	ForwardFailedReason = "ForwardFailed"
)

// SyncedCondition says whether the event is synced: an appointment to Verity's leads, a contact to Aloware.
const (
	SyncedCondition = "Synced"

	// SyncedReason (True) surfaces when the sync succeeded; status.result says what it did.
	SyncedReason = "Synced"
	// SyncSkippedReason (True) surfaces when there was nothing to sync; the message says why.
	SyncSkippedReason = "Skipped"
	// SyncFailedReason (False) surfaces when the last attempt to sync failed; the message says why.
	SyncFailedReason = "SyncFailed"
)

// SentCondition says whether the webhook sink has the event. It is absent if no webhook sink is configured.
const (
	SentCondition = "Sent"

	// SentReason (True) surfaces when the webhook sink answered the event's message with success.
	SentReason = "Sent"
	// SendFailedReason (False) surfaces when the last attempt to send the message failed; the message says how.
	SendFailedReason = "SendFailed"
)

// ReplayRefusedCondition is True if the last replay request, status.lastHandledReplay, was refused: the event did not run
// again. It is absent if that request was served.
const (
	ReplayRefusedCondition = "ReplayRefused"

	// UnknownReplayFromReason (True) surfaces when the annotation replay-from has an unknown value.
	UnknownReplayFromReason = "UnknownReplayFrom"
)

// The conditions of kstatus. They are present only while True, so generic tools can distinguish progress from a failure.
const (
	// ReconcilingCondition is True while the event is in progress.
	ReconcilingCondition = "Reconciling"
	// StalledCondition is True when the event is in phase Error and does not continue without a user's action.
	StalledCondition = "Stalled"
)
