package receiver

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// refuseTimeout bounds how long a connection is kept that is refused.
	refuseTimeout = 2 * time.Second
	// refuseQuiet is how long nothing must have come for a request to be taken as complete.
	refuseQuiet = 50 * time.Millisecond
)

// limitedListener accepts every connection and returns those that connections admits. The others are answered 429 and closed: left in the
// backlog, they would hold up those behind them and end in a timeout of the proxy, which is no 429.
type limitedListener struct {
	net.Listener
	conns   *connections
	refused func()

	slots    *semaphore.Weighted
	refusing sync.WaitGroup
}

// limit returns a listener that has no more than conns allows open at a time, and calls refused for each connection beyond them.
func limit(l net.Listener, conns *connections, refused func()) *limitedListener {
	return &limitedListener{
		Listener: l, conns: conns, refused: refused,
		slots: semaphore.NewWeighted(int64(conns.limit * refusals)),
	}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.conns.admit(conn) {
			return conn, err
		}
		l.refused()
		if !l.slots.TryAcquire(1) {
			_ = conn.Close() // It is refused either way.
			continue
		}
		l.refusing.Go(func() {
			defer l.slots.Release(1)
			refuseConnection(conn)
		})
	}
}

// refuseConnection answers 429 once a request has come: clients fail on an answer that comes before or in the middle of it. It reads on
// after the answer, since closing a connection with bytes unread resets it, and the sender may lose the answer.
func refuseConnection(conn net.Conn) {
	defer conn.Close()
	end := time.Now().Add(refuseTimeout)
	if !readUntilQuiet(conn, end) || conn.SetDeadline(end) != nil {
		return
	}
	if _, err := fmt.Fprintf(conn, refusal, time.Now().UTC().Format(http.TimeFormat)); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, conn) // Its end, or the deadline, is all that is waited for.
	}
}

// readUntilQuiet reads what comes until nothing has come for a moment, or until half of the time is over, and reports whether anything
// came.
func readUntilQuiet(conn net.Conn, end time.Time) bool {
	var buffer [2 << 10]byte
	enough := end.Add(-refuseTimeout / 2)
	deadline := end
	read := 0
	for {
		if conn.SetReadDeadline(deadline) != nil {
			return false
		}
		n, err := conn.Read(buffer[:])
		if read += n; err != nil {
			return read > 0
		}
		if read == 0 {
			continue
		}
		if deadline = time.Now().Add(refuseQuiet); deadline.After(enough) {
			return true
		}
	}
}

// refusal is the answer to a connection that is refused, with the date to fill in.
var refusal = func() string {
	body := fmt.Sprintf(`{"error":%q}`, notStoredNow)
	return "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Type: application/json\r\nDate: %s\r\n" +
		fmt.Sprintf("Content-Length: %d\r\nRetry-After: %s\r\n\r\n%s", len(body), retryAfter, body)
}()
