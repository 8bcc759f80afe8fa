package crash

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/failpoint"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

// crash is the death of a process at a point, and what must come of it.
type crash struct {
	point failpoint.Point
	// gap names the steps that it lies between.
	gap string
	// webhook is what is on its way.
	webhook func(*testing.T, *environment) *subject
	// answer is when GoHighLevel has its answer.
	answer answered
	// forwards is how often Verity is sent the webhook, under the same key.
	forwards int
	// again says what is done once more, in words.
	again string
	// provoke makes the process reach the point if the webhook alone does not.
	provoke provocation
}

type provocation func(*testing.T, *environment, *subject)

// answered says when a webhook is acknowledged.
type answered string

const (
	// never: the process dies before it answers; what is sent again is new.
	never answered = "not answered, sent again, accepted"
	// stored: the process dies before it answers; what is sent again is known already.
	stored answered = "not answered, sent again, answered as a duplicate"
	// before: the receiver dies once it has answered, and not before.
	before answered = "answered 200, then the receiver dies"
	// anyhow: it is not the receiver that dies.
	anyhow answered = "answered 200"
)

// crashes are in the order of a webhook's way. A forward may be sent again only where Verity's answer to the first one is not in the ledger.
var crashes = []crash{
	{
		point: failpoint.ReceiverAccepted, gap: "accept → read",
		webhook: booking, answer: never, forwards: 1,
	},
	{
		point: failpoint.ReceiverRead, gap: "read → verify",
		webhook: booking, answer: never, forwards: 1,
	},
	{
		point: failpoint.ReceiverVerified, gap: "verify → commit",
		webhook: contact, answer: never, forwards: 1,
	},
	{
		point: failpoint.WriterInserted, gap: "within the commit",
		webhook: workflow, answer: never, forwards: 1,
	},
	{
		point: failpoint.WriterCommitted, gap: "commit → answer, in the writer",
		webhook: booking, answer: stored, forwards: 1,
	},
	{
		point: failpoint.ReceiverCommitted, gap: "commit → answer, in the handler",
		webhook: workflow, answer: stored, forwards: 1,
	},
	{
		point: failpoint.WriterAnswered, gap: "answer → relay",
		webhook: booking, answer: before, forwards: 1,
	},
	{
		point: failpoint.RelayTaken, gap: "relay → create",
		webhook: booking, answer: before, forwards: 1,
	},
	{
		point: failpoint.RelayCreated, gap: "create → mark dispatched",
		webhook: contact, answer: before, forwards: 1,
		again: "the create, unless the event is claimed by then: the object exists",
	},
	{
		point: failpoint.RelayMarking, gap: "create → mark dispatched, of a batch",
		webhook: booking, answer: before, forwards: 1,
		again: "the create, unless the event is claimed by then: the object exists",
	},
	{
		point: failpoint.RelayMarked, gap: "mark dispatched → claim",
		webhook: booking, answer: before, forwards: 1,
	},
	{
		point: failpoint.RelayLeased, gap: "lease → create, of orphaned rows",
		webhook: booking, answer: anyhow, forwards: 1, provoke: deleteUnfinished(failpoint.RelayLeased),
	},
	{
		point: failpoint.RelaySwept, gap: "create → mark dispatched, of orphaned rows",
		webhook: booking, answer: anyhow, forwards: 1, provoke: deleteUnfinished(failpoint.RelaySwept),
		again: "the create: the object exists",
	},

	{
		point: failpoint.TermAcquired, gap: "acquire the term → claim, by a new leader",
		webhook: booking, answer: anyhow, forwards: 1, provoke: changeLeader,
		again: "the term",
	},
	{
		point: failpoint.Claimed, gap: "claim → status",
		webhook: booking, answer: anyhow, forwards: 1,
	},
	{
		point: failpoint.Shown, gap: "status → forward",
		webhook: booking, answer: anyhow, forwards: 1,
	},
	{
		point: failpoint.Forwarded, gap: "forward → ledger",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key",
	},
	{
		point: failpoint.LeadMerged, gap: "forward → lead",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key",
	},
	{
		point: failpoint.LeadAttached, gap: "contact found → lead",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key",
	},
	{
		point: failpoint.LeadWritten, gap: "within the lead's transaction",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key",
	},
	{
		point: failpoint.LeadCommitted, gap: "lead in Verity → recorded here",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key, and the lead to the same state",
	},
	{
		point: failpoint.TagsAdded, gap: "tags at GoHighLevel → ledger",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key, and the lead to the same state; the tags exist",
	},
	{
		point: failpoint.ContactSent, gap: "contact in Aloware → recorded here",
		webhook: contact, answer: anyhow, forwards: 2,
		again: "the forward under its key, and the contact with the same data",
	},
	{
		point: failpoint.WebhookSent, gap: "message at the webhook sink → ledger",
		webhook: contact, answer: anyhow, forwards: 2,
		again: "the forward under its key, the contact with the same data, and the message under its id",
	},
	{
		point: failpoint.Attempted, gap: "webhook sink → complete",
		webhook: booking, answer: anyhow, forwards: 2,
		again: "the forward under its key, the lead to the same state, and the message under its id",
	},
	{
		point: failpoint.Recorded, gap: "complete → status",
		webhook: booking, answer: anyhow, forwards: 1,
	},
	{
		point: failpoint.OutcomeShown, gap: "status → expire",
		webhook: booking, answer: anyhow, forwards: 1,
	},
	{
		point: failpoint.Expired, gap: "expire → the end",
		webhook: contact, answer: anyhow, forwards: 1,
	},
	{
		point: failpoint.ReplayRaised, gap: "replay: new run → status",
		webhook: booking, answer: anyhow, forwards: 1, provoke: replay,
	},
	{
		point: failpoint.Undispatched, gap: "deleted by a user → recreated",
		webhook: booking, answer: anyhow, forwards: 1, provoke: deleteUnfinished(failpoint.Undispatched),
	},
	{
		point: failpoint.Parked, gap: "park: row → WebhookEvent",
		webhook: booking, answer: anyhow, forwards: 1, provoke: parkOne,
	},
	{
		point: failpoint.RetentionRemoved, gap: "retention: between two batches",
		webhook: booking, answer: anyhow, forwards: 1, provoke: removeOld,
	},
	{
		point: failpoint.ReplayBatch, gap: "bulk replay: rows → audit",
		webhook: booking, answer: anyhow, forwards: 1, provoke: replayMany,
	},
}

func TestEveryPointIsCrashedAt(t *testing.T) {
	t.Parallel()
	var tested []failpoint.Point
	for _, c := range crashes {
		tested = append(tested, c.point)
	}
	assert.ElementsMatch(t, failpoint.All(), append(tested, migrations...))
}

// TestAnEventIsDoneOnceWhereverAProcessDies goes through the points one by one, on one system: starting it is most of the work.
func TestAnEventIsDoneOnceWhereverAProcessDies(t *testing.T) {
	t.Parallel()
	e := startEnvironment(t)
	var report report
	for _, c := range crashes {
		if !t.Run(string(c.point), func(t *testing.T) { report.add(c, e.crashAt(t, c)) }) {
			return // What follows would only say that something is wrong still.
		}
	}
	t.Run("nothing is left", func(t *testing.T) {
		systemtest.Eventually(t, func(c *assert.CollectT) {
			var left v1alpha1.WebhookEventList
			require.NoError(c, e.Kubernetes.List(t.Context(), &left, client.InNamespace(e.Namespace)))
			require.Empty(c, left.Items, "every WebhookEvent is done and has expired")
		})
		var unfinished int
		require.NoError(t, e.Database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events WHERE status <> 'done'").Scan(&unfinished))
		assert.Zero(t, unfinished)
	})
	if !t.Failed() {
		report.write(t)
	}
}

// crashAt kills a process at the point, and checks what happens to the webhook. It returns how long after that the event was done.
func (e *environment) crashAt(t *testing.T, c crash) time.Duration {
	t.Helper()
	e.waitRestarted(t)
	s := c.webhook(t, e)
	sent := []*subject{s}
	switch {
	case c.provoke != nil:
		c.provoke(t, e, s)
	case c.answer == before:
		sent = e.dieAfterAnswer(t, c, s)
	default:
		e.arm(t, c.point)
		answer, lost := e.deliver(t, s)
		e.waitHit(t, c.point)
		assert.Equal(t, map[answered]string{never: accepted, stored: duplicate, anyhow: accepted}[c.answer], answer.Outcome)
		assert.Equal(t, c.answer == never || c.answer == stored, lost > 0, "%d posts had no answer", lost)
	}
	died := time.Now()
	for _, s := range sent {
		e.isDoneOnce(t, s, c.forwards)
	}
	return time.Since(died)
}

// dieAfterAnswer kills a receiver at the point, after it has answered, and returns what was sent until then. More than one webhook may be
// needed: until a receiver notices that the other one has relayed all orphaned rows, it leaves new rows to the other and does not reach the
// point. The webhooks go to the receivers in turn, since the one that relays orphaned rows knows when there are none left.
func (e *environment) dieAfterAnswer(t *testing.T, c crash, s *subject) []*subject {
	t.Helper()
	require.NoError(t, e.points.Hold(c.point))
	e.arm(t, c.point)
	var sent []*subject
	for begun := time.Now(); ; s = c.webhook(t, e) {
		require.Less(t, time.Since(begun), systemtest.Timeout, "the point %s is reached", c.point)
		answer, err := e.postTo(t.Context(), e.Receivers[len(sent)%len(e.Receivers)], s)
		require.NoError(t, err)
		assert.Equal(t, accepted, answer.Outcome)
		sent = append(sent, s)
		require.Eventually(t, func() bool { return e.points.Hit(c.point) || e.shownDone(s.id) }, systemtest.Timeout, systemtest.Tick)
		if e.points.Hit(c.point) {
			require.NoError(t, e.points.Release(c.point))
			return sent
		}
	}
}

// The outcomes of a post.
const (
	accepted  = "accepted"
	duplicate = "duplicate"
)

// arm makes the next process that reaches the point die there.
func (e *environment) arm(t *testing.T, p failpoint.Point) {
	t.Helper()
	require.NoError(t, e.points.Arm(p))
	e.expected++
}

func (e *environment) waitHit(t *testing.T, p failpoint.Point) {
	t.Helper()
	require.Eventually(t, func() bool { return e.points.Hit(p) }, systemtest.Timeout, systemtest.Tick, "the point %s is reached", p)
}

// waitRestarted waits until all that died is there again.
func (e *environment) waitRestarted(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return e.deaths() >= e.expected }, systemtest.StartTimeout, systemtest.Tick)
}
