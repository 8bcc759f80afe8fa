package receiver

// Exported for tests: the division of a memory limit.
const (
	ConnectionCost   = connectionCost
	ProbeConnections = maxProbeConnections
)

// DecodingOf is exported for tests.
var DecodingOf = decodingOf

// LimitsOf returns the parts of limitsOf.
func LimitsOf(memoryLimit int64) (connections int, bodies, decoding int64) {
	l := limitsOf(memoryLimit)
	return l.connections, l.bodies, l.decoding
}
