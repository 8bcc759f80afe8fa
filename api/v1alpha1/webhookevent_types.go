package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WebhookEventPhase is a coarse summary of where an event stands.
//
// +kubebuilder:validation:Enum=Pending;Processing;Done;Error
type WebhookEventPhase string

const (
	// PhasePending: the event waits for its first or next attempt.
	PhasePending WebhookEventPhase = "Pending"
	// PhaseProcessing: an attempt is in progress.
	PhaseProcessing WebhookEventPhase = "Processing"
	// PhaseDone: every operation of the event is done.
	PhaseDone WebhookEventPhase = "Done"
	// PhaseError: the event failed, and does not continue without a user's action.
	PhaseError WebhookEventPhase = "Error"
)

// Finished reports whether the controller makes no further attempt in this phase.
func (p WebhookEventPhase) Finished() bool { return p == PhaseDone || p == PhaseError }

// WebhookEventSpec identifies one stored webhook. It has only ids: the payload stays in the database, under eventID.
//
// +kubebuilder:validation:XValidation:rule="type(self.receivedAt) == google.protobuf.Timestamp",message="receivedAt must be a date and time, for instance 2026-11-23T10:00:00Z"
// +kubebuilder:validation:XValidation:rule="self.eventID == oldSelf.eventID && self.source == oldSelf.source && self.eventType == oldSelf.eventType && self.entityType == oldSelf.entityType && self.receivedAt == oldSelf.receivedAt",message="spec is immutable: only suspend can be changed"
// +kubebuilder:validation:XValidation:rule="has(self.entityID) == has(oldSelf.entityID) && (!has(self.entityID) || self.entityID == oldSelf.entityID)",message="spec is immutable: only suspend can be changed"
// +kubebuilder:validation:XValidation:rule="has(self.locationID) == has(oldSelf.locationID) && (!has(self.locationID) || self.locationID == oldSelf.locationID)",message="spec is immutable: only suspend can be changed"
// +kubebuilder:validation:XValidation:rule="has(self.contactID) == has(oldSelf.contactID) && (!has(self.contactID) || self.contactID == oldSelf.contactID)",message="spec is immutable: only suspend can be changed"
type WebhookEventSpec struct {
	// eventID is the id of the event's row in the table webhook_events.
	// +required
	// +kubebuilder:validation:Pattern=`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`
	// +kubebuilder:validation:MaxLength=36
	EventID string `json:"eventID"`

	// source names the system that sent the webhook.
	// +required
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	// +kubebuilder:validation:MaxLength=32
	Source string `json:"source"`

	// eventType is the kind of change, for instance appointment.created or contact.tag_updated.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	EventType string `json:"eventType"`

	// entityType is the kind of the changed entity, for instance appointment or contact.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	EntityType string `json:"entityType"`

	// entityID is the sender's id of the entity. It is absent if the webhook has none.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	EntityID string `json:"entityID,omitempty"`

	// locationID is the sender's id of the location (sub-account) of the webhook.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	LocationID string `json:"locationID,omitempty"`

	// contactID is the sender's id of the contact.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ContactID string `json:"contactID,omitempty"`

	// receivedAt is when the webhook was stored.
	// +required
	ReceivedAt metav1.MicroTime `json:"receivedAt"`

	// suspend pauses the event: no attempt is made while it is true. Younger events of the same entity do not wait for a
	// suspended one.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// WebhookEventStatus says where the event stands. Only the controller writes it, as a projection of the event's row.
type WebhookEventStatus struct {
	// phase is where the event stands: Pending, Processing, Done or Error.
	// +optional
	// +kubebuilder:default=Pending
	Phase WebhookEventPhase `json:"phase,omitempty"`

	// attempts is the number of attempts of the current run that count against the limit.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// nextAttemptTime is when the next attempt is due. It is absent if none is planned or one is due now.
	// +optional
	NextAttemptTime *metav1.Time `json:"nextAttemptTime,omitempty"`

	// startTime is when the latest attempt started.
	// +optional
	StartTime *metav1.MicroTime `json:"startTime,omitempty"`

	// completionTime is when the event reached the phase Done or Error.
	// +optional
	CompletionTime *metav1.MicroTime `json:"completionTime,omitempty"`

	// verityContactID is the id of the matching contact in Verity's database.
	// +optional
	VerityContactID string `json:"verityContactID,omitempty"`

	// result is the result of the event, for instance LeadUpdated, ContactSynced or ForwardedOnly.
	// +optional
	Result string `json:"result,omitempty"`

	// observedGeneration is the generation of the spec that this status reflects.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// lastHandledReplay is the last value of the annotation webhooks.dfmiddleware.io/replay-requested-at that was served or
	// refused.
	// +optional
	LastHandledReplay string `json:"lastHandledReplay,omitempty"`

	// conditions are Ready, Forwarded and Synced, Sent if a webhook sink is configured, and while they are true Reconciling, Stalled
	// and ReplayRefused.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Results of an event, as status.result shows them.
const (
	// ResultLeadUpdated: the contact's leads point at its live appointment that was booked last.
	ResultLeadUpdated = "LeadUpdated"
	// ResultLeadInserted: the contact had no lead; a lead was created.
	ResultLeadInserted = "LeadInserted"
	// ResultLeadCleared: the contact has no live appointment left; its leads point at none.
	ResultLeadCleared = "LeadCleared"
	// ResultLeadUnchanged: the leads were already up to date.
	ResultLeadUnchanged = "LeadUnchanged"
	// ResultLeadNotInsertable: the contact has no lead, and verity-sync cannot insert one; the condition Synced says why.
	ResultLeadNotInsertable = "LeadNotInsertable"
	// ResultLeadSkipped: the appointment has no contact, so there is no lead to sync; the condition Synced says why.
	ResultLeadSkipped = "LeadSkipped"
	// ResultSuperseded: a newer change of the same entity was already applied; nothing was written.
	ResultSuperseded = "Superseded"
	// ResultContactSynced: the contact was synced to Aloware.
	ResultContactSynced = "ContactSynced"
	// ResultContactSkipped: the contact was not sent to Aloware; the condition Synced says why.
	ResultContactSkipped = "ContactSkipped"
	// ResultForwardedOnly: events of this type are forwarded and not synced.
	ResultForwardedOnly = "ForwardedOnly"
	// ResultSentOnly: the event was sent to the webhook sink; no forward target is configured, and nothing is synced.
	ResultSentOnly = "SentOnly"
	// ResultStoredOnly: the event was stored; there was nothing to forward or to sync.
	ResultStoredOnly = "StoredOnly"
)

// WebhookEvent is one received webhook and the state of its processing. It is a projection of the event's row in the
// database: if you delete an unfinished WebhookEvent, nothing is lost, and it is recreated.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=whe,categories=verity
// +kubebuilder:selectablefield:JSONPath=`.spec.eventType`
// +kubebuilder:selectablefield:JSONPath=`.spec.entityType`
// +kubebuilder:selectablefield:JSONPath=`.spec.entityID`
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == self.spec.source + '-' + self.spec.eventID",message="metadata.name must be <spec.source>-<spec.eventID>, so that an event has one object only"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.eventType`
// +kubebuilder:printcolumn:name="Entity",type=string,JSONPath=`.spec.entityID`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Attempts",type=integer,JSONPath=`.status.attempts`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Source",type=string,priority=1,JSONPath=`.spec.source`
// +kubebuilder:printcolumn:name="Location",type=string,priority=1,JSONPath=`.spec.locationID`
// +kubebuilder:printcolumn:name="Contact",type=string,priority=1,JSONPath=`.spec.contactID`
// +kubebuilder:printcolumn:name="Next",type=string,format=date-time,priority=1,JSONPath=`.status.nextAttemptTime`
// +kubebuilder:printcolumn:name="Result",type=string,priority=1,JSONPath=`.status.result`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type WebhookEvent struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec identifies the webhook. It is immutable, except for suspend.
	// +required
	Spec WebhookEventSpec `json:"spec"`

	// status says where the event stands.
	// +optional
	// +kubebuilder:default={phase: Pending}
	Status WebhookEventStatus `json:"status,omitempty"`
}

// WebhookEventList is a list of WebhookEvents.
//
// +kubebuilder:object:root=true
type WebhookEventList struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	Items []WebhookEvent `json:"items"`
}

// NameOf returns the name of the WebhookEvent of an event: the source and the id of its row.
func NameOf(source, eventID string) string { return source + "-" + eventID }
