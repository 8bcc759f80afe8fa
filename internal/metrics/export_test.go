package metrics

// RegisterEventsAt is RegisterEvents with a clock of the test's own.
var RegisterEventsAt = registerEvents
