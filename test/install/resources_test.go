package install

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
	"github.com/dfmiddleware/verity-sync/test/testenv/proc"
	"github.com/dfmiddleware/verity-sync/test/testenv/systemtest"
)

var (
	// largePosts are as many of the largest bodies as a receiver holds at a time, and smallPosts as many unfinished events as Kubernetes
	// advises to have of a kind in a namespace: with RESOURCES=full. By itself the test does with less, which takes less time.
	largePosts, smallPosts = 8, 100
)

func init() {
	if os.Getenv("RESOURCES") == "full" {
		largePosts, smallPosts = 64, 1500
	}
}

// TestResourcesAreEnough has the processes of the chart do what takes memory, and holds what they needed against what the chart gives them.
// docs/performance.md has what it logs if RESOURCES is full.
func TestResourcesAreEnough(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, sharedServer(t), newNamespace())
	// A machine that is too busy for it must not cost the controller its lease, and so its life.
	alone := chart(map[string]any{"controller": map[string]any{"extraArgs": []string{"--leader-elect=false"}}})
	i.apply(t, alone(t, file(t), i.namespace, i.variables)...)
	i.migrate(t, here(t))
	receiver, controller := i.pods(t, "receiver", here(t))[0], i.pods(t, "controller", here(t))[0]
	start(t, receiver, controller)
	for _, p := range []*pod{receiver, controller} {
		rest := p.memory(t, "VmRSS")
		t.Logf("%s: %d MiB resident when it is ready, %d MiB of them anonymous", p.container.Name, rest>>20, p.memory(t, "RssAnon")>>20)
		assert.Less(t, rest, p.container.Resources.Requests.Memory().Value(), "what a %s needs in any case is requested", p.container.Name)
	}

	// Whatever is posted stays: Verity answers 503.
	unavailable := fault.Status(http.StatusServiceUnavailable)
	unavailable.Times = -1
	require.NoError(t, i.verity.Faults.Add(unavailable))

	// A megabyte of zeros is as many values as there can be in a body.
	zeros := []byte(`,"zeros":[0` + strings.Repeat(",0", 1<<19-1<<10) + "]}")
	i.postMany(t, receiver, largePosts, func() ghlsender.Webhook {
		large := i.note()
		large.Body = append(large.Body[:len(large.Body)-1:len(large.Body)-1], zeros...)
		return large
	})
	i.awaitShown(t, largePosts)
	for _, p := range []*pod{receiver, controller} {
		t.Logf("%s: at most %d MiB resident with %d bodies of 1 MiB at a time", p.container.Name, p.memory(t, "VmHWM")>>20, largePosts)
	}

	receiverBefore, controllerBefore := receiver.cpu(t), controller.cpu(t)
	i.postMany(t, receiver, smallPosts, i.note)
	i.awaitShown(t, largePosts+smallPosts)
	t.Logf("receiver: %s of CPU for each post", (receiver.cpu(t)-receiverBefore)/time.Duration(smallPosts))
	t.Logf("controller: %s of CPU for each event", (controller.cpu(t)-controllerBefore)/time.Duration(smallPosts))
	for _, p := range []*pod{receiver, controller} {
		most := p.memory(t, "VmHWM")
		t.Logf("%s: %d MiB resident with %d unfinished events, %d MiB of them anonymous, at most %d MiB resident until then",
			p.container.Name, p.memory(t, "VmRSS")>>20, smallPosts, p.memory(t, "RssAnon")>>20, most>>20)
		limit := p.container.Resources.Limits[corev1.ResourceMemory]
		assert.Less(t, most, limit.Value(), "what a %s needs at most is allowed", p.container.Name)
	}
}

// postMany posts webhooks, as many at a time as there are large ones, each until it is taken.
func (i *installation) postMany(t *testing.T, receiver *pod, posts int, webhook func() ghlsender.Webhook) {
	t.Helper()
	sender := *i.sender
	sender.Retries, sender.RetryDelay, sender.RetryAll = int(systemtest.Timeout/time.Second), time.Second, true
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(largePosts)
	for range posts {
		group.Go(func() error {
			answer, err := sender.Send(ctx, receiver.url("http", "http")+"/api/webhooks/ghl", webhook())
			if err == nil && answer.Status != http.StatusOK {
				err = fmt.Errorf("answered %d: %s", answer.Status, answer.Body)
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
}

// awaitShown waits until so many events have a WebhookEvent.
func (i *installation) awaitShown(t *testing.T, events int) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		var shown int
		require.NoError(c, i.database.QueryRow(t.Context(), "SELECT count(*) FROM webhook_events WHERE dispatched_at IS NOT NULL").Scan(&shown))
		require.Equal(c, events, shown)
	}, systemtest.Timeout, 10*systemtest.Tick)
}

// memory returns the bytes of a field of the process's status.
func (p *pod) memory(t *testing.T, field string) int64 {
	t.Helper()
	bytes, err := proc.Memory(p.process.Process.Pid, field)
	require.NoError(t, err)
	return bytes
}

// cpu returns the time that the process has used.
func (p *pod) cpu(t *testing.T) time.Duration {
	t.Helper()
	used, err := proc.CPU(p.process.Process.Pid)
	require.NoError(t, err)
	return used
}
