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
	// refuseTimeout bounds how long a refused connection stays open.
	refuseTimeout = 2 * time.Second
	// refuseQuiet is the silence after which a request counts as complete.
	refuseQuiet = 50 * time.Millisecond
)

// limitedListener accepts every connection and returns those that connections admits. It answers the others 429 and closes them: in the
// listen backlog they would delay the ones behind them, and end in a timeout of the proxy instead of a 429.
type limitedListener struct {
	net.Listener
	conns   *connections
	refused func()

	slots    *semaphore.Weighted
	refusing sync.WaitGroup
}

// limit returns a listener that keeps to the limit of conns, and calls refused for each connection above it.
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
			_ = conn.Close() // Too many are being refused already.
			continue
		}
		l.refusing.Go(func() {
			defer l.slots.Release(1)
			refuseConnection(conn)
		})
	}
}

// refuseConnection answers 429 after a request has arrived: clients fail on an answer before the end of their request. It keeps reading
// after the answer, because closing a connection with unread bytes resets it, and the sender may lose the answer.
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
		_, _ = io.Copy(io.Discard, conn) // Until the client closes it, or the deadline.
	}
}

// readUntilQuiet reads until nothing has arrived for refuseQuiet, or half of refuseTimeout has passed, and reports whether anything
// arrived.
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

// refusal is the answer on a refused connection, with a verb for the date.
var refusal = func() string {
	body := fmt.Sprintf(`{"error":%q}`, notStoredNow)
	return "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Type: application/json\r\nDate: %s\r\n" +
		fmt.Sprintf("Content-Length: %d\r\nRetry-After: %s\r\n\r\n%s", len(body), retryAfter, body)
}()
