package store

// Operations: the values of sync_log.operation. The ledger keeps them for ever, so a value never changes its meaning.
const (
	OperationForward     = "verity.forward"
	OperationLead        = "verity.lead"
	OperationContact     = "aloware.contact"
	OperationTags        = "ghl.tags"
	OperationWebhookSink = "webhook.sink"
)

// Directions: the values of sync_log.direction. Each one is in directions, too.
const (
	DirectionToVerity      = "ghl_to_verity"
	DirectionToAloware     = "ghl_to_aloware"
	DirectionToGHL         = "verity_to_ghl"
	DirectionToWebhookSink = "ghl_to_webhook"
)

// directions are the directions that the column must accept: a migration checks it.
var directions = []string{DirectionToVerity, DirectionToGHL, DirectionToAloware, DirectionToWebhookSink}

// Statuses: the values of sync_log.status.
const (
	LedgerSuccess = "success"
	LedgerError   = "error"
	LedgerSkipped = "skipped"
)
