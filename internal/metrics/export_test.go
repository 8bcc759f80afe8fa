package metrics

// RegisterEventsAt is RegisterEvents with a test clock.
var RegisterEventsAt = registerEvents
