package receiver

// How a receiver divides its memory limit. Everything that an unauthenticated client can make it hold belongs to one of three shares, so
// that no flood exceeds the limit:
//
//	share          of the limit   holds                                                       above it
//	connections    1/4            the cost of a connection before its body: goroutine,        the longest idle one is closed; without
//	                              buffers, headers, trailers                                  an idle one, 429 and close
//	bodies         1/14, ≤64 MiB  bodies from their first byte to the end of the commit;      429 and close
//	                              with the copies for Postgres, half of the limit
//	decoding       1/8            the allocations of authenticating, decoding and             a wait of up to 3 s, then 429
//	                              normalising
//
// The last eighth is for connections that are being refused, and for the rest of the process, which takes 12 MiB. A connection is charged
// its maximum when it is accepted, not its headers when they have been read: headers take memory while they arrive, for up to 5 s.
const (
	// defaultMemoryLimit is assumed without a known limit: the Go runtime's part of the chart's 1 GiB.
	defaultMemoryLimit = 1 << 30 / 100 * 90

	connectionsShare = 4
	bodiesShare      = 14
	decodingShare    = 8
)

const (
	// maxHeader bounds the request line and the headers: net/http adds 4 KiB to it, 12 KiB in all.
	maxHeader = 8 << 10
	// connectionCost is the maximum cost of a connection. Measured after a forced GC, heap and stack, for 12 KiB of headers: 265 KB with
	// the shortest distinct names; 212 KB with one name; 196 KB with A0, A1, …; 33 KB with one URL; 13 KB without a request. The rest is
	// for the answer and the allocations of a small body. Trailers are 4 KiB at most, and dropped when the body has been read.
	connectionCost = 288 << 10
	// refusals is how many connections may be in the course of being refused, for each one that may be open. One costs 10 KB.
	refusals = 4
	// minConnections applies to a limit that is too small to divide.
	minConnections = 32

	// maxBody is four times the size at which GoHighLevel cuts its payloads.
	maxBody = 1 << 20
	// maxHeld is the most that a body holds: a form is stored as received, and as JSON of up to 2 MiB.
	maxHeld = 3 << 20
	// maxBodies bounds the bodies however large the memory limit is.
	maxBodies = 64 << 20

	// decodeCost is how many bytes a source may allocate to decode and normalise one byte of a body, garbage included.
	// TestDecodeBoundsWhatAFormAllocates and TestDecodeBoundsWhatJSONAllocates in internal/ghl check it.
	decodeCost = 21
	// queryCost is the same for one byte of a query. The most expensive query has one-byte flags: a&b&c.
	queryCost = 64
)

// limits is the division of a memory limit.
type limits struct {
	// connections is a number; bodies and decoding are bytes.
	connections int
	bodies      int64
	decoding    int64
}

// limitsOf divides a memory limit in bytes, 0 if it is unknown. Any limit has room for one body of any size.
func limitsOf(memoryLimit int64) limits {
	if memoryLimit <= 0 {
		memoryLimit = defaultMemoryLimit
	}
	return limits{
		connections: int(max(minConnections, memoryLimit/connectionsShare/connectionCost)),
		bodies:      max(maxHeld, min(maxBodies, memoryLimit/bodiesShare)),
		decoding:    max(decodingOf(maxBody, 2*maxHeader), memoryLimit/decodingShare),
	}
}

// decodingOf returns how many bytes a body and a query of those lengths may allocate until the commit.
func decodingOf(body, query int) int64 { return int64(body)*decodeCost + int64(query)*queryCost }
