package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlapi"
	"github.com/dfmiddleware/verity-sync/test/sim/ghlsender"
)

const pollInterval = 100 * time.Millisecond

// post posts all chapters and returns the posts by the names of their WebhookEvents.
func (d *dev) post(ctx context.Context, chapters []chapter) (map[string]post, error) {
	posted := map[string]post{}
	for _, c := range chapters {
		d.say("%s", c.title)
		for _, p := range c.posts {
			// The receivers take turns, as they would behind a Service.
			receiver := d.Receivers[len(posted)%len(d.Receivers)]
			answer, err := d.Post(ctx, receiver, p.webhook)
			if err != nil {
				return nil, fmt.Errorf("post %q: %w", p.title, err)
			}
			if answer.Status != http.StatusOK {
				return nil, fmt.Errorf("post %q: answered %d: %s", p.title, answer.Status, answer.Error)
			}
			d.print("    %d %-9s %s\n", answer.Status, answer.Outcome, p.title)
			posted[v1alpha1.NameOf("ghl", answer.ID)] = p
		}
	}
	return posted, nil
}

// An echo is a webhook about a write of verity-sync itself, and its event.
type echo struct {
	contact, name string
	post          post
	err           error
}

// echo makes GoHighLevel send a webhook of each tag that verity-sync adds, as it does of every change.
func (d *dev) echo(ctx context.Context) <-chan echo {
	echoes := make(chan echo, 10)
	d.GHL.OnTags = func(c ghlapi.Contact) {
		p := post{
			title:   "tagged",
			webhook: d.Sender.Contact("TagUpdate", ghlsender.Contact{ID: c.ID, Tags: c.Tags}),
			reason:  v1alpha1.DoneReason, result: v1alpha1.ResultContactSkipped,
		}
		answer, err := d.Post(ctx, d.Receivers[0], p.webhook)
		select {
		case echoes <- echo{c.ID, v1alpha1.NameOf("ghl", answer.ID), p, err}:
		default: // After the round, a user may book further appointments; nothing waits for their tags.
		}
	}
	return echoes
}

// awaitTag waits until GoHighLevel has reported the tag that a contact gets, and adds its webhooks to posted.
func (d *dev) awaitTag(ctx context.Context, contact string, echoes <-chan echo, posted map[string]post) error {
	d.say("waiting until GoHighLevel reports the tag %q that verity-sync adds to %s", tag, contact)
	for {
		select {
		case e := <-echoes:
			if e.err != nil {
				return fmt.Errorf("post %q: %w", e.post.title, e.err)
			}
			posted[e.name] = e.post
			if e.contact == contact {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("%s got no tag within %s", contact, roundTimeout)
		}
	}
}

// wait returns the WebhookEvents by their names once all that were posted are finished. Where ctx ends before, the error names the others.
func (d *dev) wait(ctx context.Context, posted map[string]post) (map[string]*v1alpha1.WebhookEvent, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	var last error
	for {
		finished, waiting, err := d.look(ctx, posted)
		if err == nil && len(waiting) == 0 {
			return finished, nil
		}
		if ctx.Err() == nil {
			last = errors.Join(err, errors.New(strings.Join(waiting, "\n")))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("not all events were finished within %s:\n%w", roundTimeout, last)
		case <-tick.C:
		}
	}
}

// look returns what is finished, and lines that tell what is not.
func (d *dev) look(ctx context.Context, posted map[string]post) (map[string]*v1alpha1.WebhookEvent, []string, error) {
	var list v1alpha1.WebhookEventList
	if err := d.Kubernetes.List(ctx, &list, client.InNamespace(d.Namespace)); err != nil {
		return nil, nil, fmt.Errorf("list the WebhookEvents: %w", err)
	}
	there := map[string]*v1alpha1.WebhookEvent{}
	for i := range list.Items {
		there[list.Items[i].Name] = &list.Items[i]
	}
	var waiting []string
	for name, p := range posted {
		switch e := there[name]; {
		case e == nil:
			waiting = append(waiting, fmt.Sprintf("%s (%s) has no WebhookEvent", name, p.title))
		case !e.Status.Phase.Finished():
			reason, message := readiness(e)
			waiting = append(waiting, fmt.Sprintf("%s (%s) is %s: %s: %s", name, p.title, e.Status.Phase, reason, message))
		}
	}
	slices.Sort(waiting)
	return there, waiting, nil
}

// verdict returns an error that names every event that did not end as it should.
func verdict(posted map[string]post, finished map[string]*v1alpha1.WebhookEvent) error {
	var failures []error
	for _, name := range slices.Sorted(maps.Keys(posted)) {
		p, e := posted[name], finished[name]
		reason, message := readiness(e)
		switch {
		case reason != p.reason:
			failures = append(failures, fmt.Errorf("%s (%s) ended with %s instead of %s: %s", name, p.title, reason, p.reason, message))
		case p.result != "" && e.Status.Result != p.result:
			failures = append(failures, fmt.Errorf("%s (%s) led to %s instead of %s", name, p.title, e.Status.Result, p.result))
		}
	}
	return errors.Join(failures...)
}

// readiness returns what the condition Ready says.
func readiness(e *v1alpha1.WebhookEvent) (reason, message string) {
	ready := meta.FindStatusCondition(e.Status.Conditions, v1alpha1.ReadyCondition)
	if ready == nil {
		return "nothing is known yet", ""
	}
	return ready.Reason, ready.Message
}
