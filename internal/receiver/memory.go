package receiver

// How a receiver divides the memory that it may use. Everything that a stranger can have it hold is in one of the three shares, so that
// no flood takes it over its limit:
//
//	share          of the limit   holds                                                       beyond it
//	connections    1/4            what a connection costs before its body: goroutine,         the longest idle one is closed; where
//	                              buffers, headers, trailers                                  none is, 429 and close
//	bodies         1/14, ≤64 MiB  bodies from their first byte until the commit has ended;    429 and close
//	                              with the copies on their way to Postgres half of the limit
//	decoding       1/8            what authentication, decoding and normalising allocate      a wait of up to 3 s, then 429
//
// The last eighth is for connections that are being refused, and for the rest of the process, which takes 12 MiB. A request is charged for
// the most that its connection can cost when the connection is accepted, not for its headers when these have been read: they take their
// memory while they arrive, and a slow sender makes that last 5 s.
const (
	// defaultMemoryLimit is assumed where no limit is known: what the Go runtime has of the 1 GiB that the chart allows.
	defaultMemoryLimit = 1 << 30 / 100 * 90

	connectionsShare = 4
	bodiesShare      = 14
	decodingShare    = 8
)

const (
	// maxHeader bounds the request line and the headers: net/http adds 4 KiB to what it is given, 12 KiB in all.
	maxHeader = 8 << 10
	// connectionCost is what a connection costs at most. Measured after a forced GC, heap and stack, for 12 KiB of headers: 265 KB of the
	// shortest names, each another one; 212 KB of one name; 196 KB of A0, A1, …; 33 KB of one URL; 13 KB without a request. The rest is for
	// the answer and what little a small body allocates. Trailers are 4 KiB at most, and dropped when the body has been read.
	connectionCost = 288 << 10
	// refusals is how many connections may be refused at a time for each one that may be open. One costs 10 KB.
	refusals = 4
	// minConnections is for a limit too small for any division.
	minConnections = 32

	// maxBody is four times what GHL cuts its payloads at.
	maxBody = 1 << 20
	// maxHeld is what a body holds at most: a form is stored as it came and as the JSON of up to 2 MiB that it amounts to.
	maxHeld = 3 << 20
	// maxBodies bounds the bodies where there is more than enough memory.
	maxBodies = 64 << 20

	// decodeCost is how many bytes decoding and normalising allocate for each byte of a body at most, garbage included:
	// TestDecodeBoundsWhatAFormAllocates and TestDecodeBoundsWhatJSONAllocates in internal/ghl hold them to that.
	decodeCost = 21
	// queryCost is the same for each byte of a query that is a flag a byte: a&b&c.
	queryCost = 64
)

// limits is the division of a memory limit.
type limits struct {
	// connections is how many may be open at a time; bodies and decoding are bytes.
	connections int
	bodies      int64
	decoding    int64
}

// limitsOf divides a memory limit in bytes; 0 stands for one that is not known. However small it is, one body of every size fits.
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

// decodingOf returns how many bytes a body and a query of those lengths may have the receiver allocate until it is committed.
func decodingOf(body, query int) int64 { return int64(body)*decodeCost + int64(query)*queryCost }
