package controllers_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// newGenerator logs its seed, so a failure can be reproduced.
func newGenerator(t *testing.T) generator {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return generator{rand.New(rand.NewPCG(seed, seed))}
}

// schemas returns the schemas of spec and status.
func schemas(t *testing.T) (spec, status apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	properties := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
	return properties["spec"], properties["status"]
}

// validSpec is a minimal valid spec.
func validSpec(id string) object {
	return object{"eventID": id, "source": "ghl", "eventType": "x", "entityType": "y", "receivedAt": "2026-11-23T10:00:00Z"}
}

// with returns the object with one field changed, or without the field if the value is nil.
func (o object) with(field string, value any) object {
	changed := object{}
	maps.Copy(changed, o)
	if changed[field] = value; value == nil {
		delete(changed, field)
	}
	return changed
}

// webhookEvent is the JSON of a WebhookEvent, with the name that follows from its spec.
func (env *environment) webhookEvent(spec any, metadata object) object {
	env.t.Helper()
	name := "ghl-" + uuid.NewString()
	if spec, ok := spec.(object); ok {
		name = fmt.Sprintf("%v-%v", spec["source"], spec["eventID"])
	}
	metadata = metadata.with("namespace", env.namespace)
	if metadata["name"] == nil {
		metadata["name"] = name
	}
	return object{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "WebhookEvent", "metadata": metadata, "spec": spec}
}

// create sends an object unchanged.
func (env *environment) create(o object) error {
	env.t.Helper()
	return env.send(env.rest().Post(), o)
}

// writeStatus sends an object unchanged to the status subresource, with the current version.
func (env *environment) writeStatus(o object) error {
	env.t.Helper()
	var err error
	if !waitFor(func() bool {
		there := &v1alpha1.WebhookEvent{}
		name, _ := o["metadata"].(object)["name"].(string)
		require.NoError(env.t, env.client.Get(env.t.Context(), client.ObjectKey{Namespace: env.namespace, Name: name}, there))
		o["metadata"].(object)["resourceVersion"] = there.ResourceVersion
		err = env.send(env.rest().Put().Suffix(name, "status"), o)
		return !apierrors.IsConflict(err)
	}) {
		env.t.Fatalf("timed out writing the status: %v", err)
	}
	return err
}

func (env *environment) send(r *rest.Request, o object) error {
	env.t.Helper()
	body, err := json.Marshal(o)
	require.NoError(env.t, err)
	return r.AbsPath("apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, "namespaces", env.namespace, "webhookevents").
		SetHeader("Content-Type", "application/json").Body(body).Do(env.t.Context()).Error()
}

func (env *environment) rest() rest.Interface {
	env.t.Helper()
	clients, err := kubernetes.NewForConfig(env.cluster)
	require.NoError(env.t, err)
	return clients.RESTClient()
}

// wasRefused reports whether the API server refused an object because of its content.
func wasRefused(t *testing.T, err error, sent object) bool {
	t.Helper()
	if err == nil {
		return false
	}
	// Metadata that does not decode is an internal error of the API server.
	require.True(t, apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInternalError(err) ||
		apierrors.IsRequestEntityTooLargeError(err), "%v: %v", sent, err)
	return true
}

// waitForObjects waits until is holds for each object of the namespace.
func (env *environment) waitForObjects(what string, is func(*v1alpha1.WebhookEvent) bool) {
	env.t.Helper()
	var left []string
	if !waitForUpTo(10*timeout, func() bool {
		left = nil
		var all v1alpha1.WebhookEventList
		require.NoError(env.t, env.client.List(env.t.Context(), &all, client.InNamespace(env.namespace)))
		for i := range all.Items {
			if !is(&all.Items[i]) {
				left = append(left, fmt.Sprintf("%s: %+v %+v", all.Items[i].Name, all.Items[i].Spec, all.Items[i].Status))
			}
		}
		return len(left) == 0
	}) {
		env.t.Fatalf("timed out waiting until every object is %s; these are not:\n%s", what, strings.Join(left[:min(len(left), 5)], "\n"))
	}
}

// failedWithoutRow reports whether an object is in Error because it has no row.
func failedWithoutRow(e *v1alpha1.WebhookEvent) bool {
	return e.Status.Phase == v1alpha1.PhaseError && readyReason(e) == v1alpha1.RowNotFoundReason
}

// assertNoStepFailed asserts that no reconcile is repeated because of an error.
func (env *environment) assertNoStepFailed() {
	env.t.Helper()
	families, err := env.registry.Gather()
	require.NoError(env.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "verity_sync_step_duration_seconds" && l.GetValue() == "error" {
					assert.Zero(env.t, m.GetHistogram().GetSampleCount(), "%v", m.GetLabel())
				}
			}
		}
	}
}

// sample returns this number of the values, in their order.
func (g generator) sample(values []object, many int) []object {
	chosen := g.Perm(len(values))[:min(many, len(values))]
	slices.Sort(chosen)
	picked := make([]object, len(chosen))
	for i, at := range chosen {
		picked[i] = values[at]
	}
	return picked
}

// unusualMetadata has metadata that a user can send.
var unusualMetadata = map[string]any{
	"labels": raw(`null`), "annotations": raw(`{"a": null, "webhooks.dfmiddleware.io/replay-requested-at": "\n\u0000"}`),
	"finalizers": raw(`["example.com/keep"]`), "ownerReferences": raw(`[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"y"}]`),
	"creationTimestamp": raw(`"2026-11-23T10:00:00.5Z"`), "deletionTimestamp": raw(`"rubbish"`), "managedFields": raw(`[{"time":"rubbish"}]`),
	"generation": raw(`1e10`), "resourceVersion": raw(`""`), "uid": raw(`12`), "selfLink": raw(`[]`), "unknown": raw(`{}`),
	"generateName": raw(`"ghl-"`), "deletionGracePeriodSeconds": raw(`99999999999999999999`),
}

// The test sends unusual objects through a real API server to a running controller.
func TestEveryAdmittedObjectEndsInErrorAndBlocksNoOther(t *testing.T) {
	t.Parallel()
	g := newGenerator(t)
	spec, _ := schemas(t)
	env := newEnvironment(t)
	require.True(t, waitFor(func() bool { return env.health.Ready(nil) == nil }))

	var sent []object
	for _, field := range append(slices.Sorted(maps.Keys(spec.Properties)), "unknown") {
		for _, value := range append(g.unusual(spec.Properties[field]), nil) {
			sent = append(sent, env.webhookEvent(validSpec(uuid.NewString()).with(field, value), nil))
		}
	}
	for range 50 {
		sent = append(sent, env.webhookEvent(g.valid(spec), nil))
	}
	for field, value := range unusualMetadata {
		sent = append(sent, env.webhookEvent(validSpec(uuid.NewString()), object{field: value}))
	}
	for _, value := range []string{`null`, `12`, `"text"`, `[]`, `{}`} {
		sent = append(sent, env.webhookEvent(raw(value), nil))
	}
	admitted := 0
	for _, o := range sent {
		if !wasRefused(t, env.create(o), o) {
			admitted++
		}
	}
	t.Logf("the API server admitted %d of %d objects", admitted, len(sent))
	assert.Greater(t, admitted, 50, "the API server admitted enough objects")
	assert.Greater(t, len(sent)-admitted, 50, "and refused enough")

	env.waitForObjects("in error", failedWithoutRow)
	env.waitForPhase(env.deliver("another"), v1alpha1.PhaseDone)
	env.assertNoStepFailed()
	env.stop()
	env.start()
	env.waitForPhase(env.deliver("after a restart"), v1alpha1.PhaseDone)
	assert.NoError(t, env.health.Ready(nil))
}

// Only the controller should write a status, but other clients can.
func TestEventEndsWithAnyContentOfItsStatus(t *testing.T) {
	t.Parallel()
	g := newGenerator(t)
	_, status := schemas(t)
	var statuses []object
	for _, field := range append(slices.Sorted(maps.Keys(status.Properties)), "unknown") {
		for _, value := range g.unusual(status.Properties[field]) {
			statuses = append(statuses, object{"status": object{field: value}})
		}
	}
	statuses = g.sample(statuses, 200)
	for range 30 {
		statuses = append(statuses, object{"status": g.valid(status)})
	}
	for _, value := range []string{`null`, `12`, `[]`, `{}`} {
		statuses = append(statuses, object{"status": raw(value)})
	}

	env := newEnvironment(t, func(s *settings) {
		s.audit, s.backoff = 100*time.Millisecond, controllers.Backoff{Base: 2 * time.Second, Max: 2 * time.Second, MaxAttempts: 1000}
		s.finishedLimit, s.maxWaiting = len(statuses)+100, len(statuses)+100
	})
	failure := failing(destination.Transient, "answered 503")
	env.forward.script(func(int, *store.Attempt) operation.Outcome { return failure })
	ids := make([]uuid.UUID, len(statuses))
	for i := range statuses {
		ids[i] = env.deliver(fmt.Sprintf("entity%d", i))
	}
	admitted := 0
	for i, status := range statuses {
		event := env.waitUntil(ids[i], "shown", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Attempts > 0 })
		o := env.webhookEvent(validSpec(ids[i].String()), nil).with("status", status["status"])
		if wasRefused(t, env.writeStatus(o), o) {
			continue
		}
		admitted++
		assert.NotEqual(t, v1alpha1.PhaseDone, event.Status.Phase)
	}
	t.Logf("the API server admitted %d of %d statuses", admitted, len(statuses))
	assert.Greater(t, admitted, 50)

	env.forward.script(nil)
	for _, id := range ids {
		env.waitForReason(id, v1alpha1.DoneReason)
		assert.Equal(t, "done", query[string](env, "SELECT status FROM webhook_events WHERE id = $1", id))
	}
	env.assertNoStepFailed()
}

// earlierCRD admits any object.
func earlierCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := readCRD(t)
	version := &crd.Spec.Versions[0]
	version.Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
	version.SelectableFields = nil
	return crd
}

// The content of etcd is not validated again when the definition changes.
func TestObjectsThatAnEarlierDefinitionAdmittedBlockNoOther(t *testing.T) {
	t.Parallel()
	server := testenv.KubernetesServer(t)
	crds := crdClient(t, server.Config())
	installCRD(t, crds, earlierCRD(t))
	g := newGenerator(t)
	spec, status := schemas(t)
	env := newEnvironment(t, func(s *settings) { s.cluster, s.ttl.Error = server.Config(), 3*time.Second })

	write := func() (written int) {
		var sent []object
		for _, field := range slices.Sorted(maps.Keys(spec.Properties)) {
			for _, value := range append(g.unusual(spec.Properties[field]), nil) {
				sent = append(sent, env.webhookEvent(validSpec(uuid.NewString()).with(field, value), object{"name": "odd-" + uuid.NewString()}))
			}
		}
		for _, field := range slices.Sorted(maps.Keys(status.Properties)) {
			for _, value := range g.unusual(status.Properties[field]) {
				sent = append(sent, env.webhookEvent(validSpec(uuid.NewString()), nil).with("status", object{field: value}))
			}
		}
		for _, value := range []string{`null`, `12`, `"text"`, `[]`, `{}`} {
			sent = append(sent, env.webhookEvent(raw(value), nil), env.webhookEvent(validSpec(uuid.NewString()), nil).with("status", raw(value)))
		}
		for _, o := range g.sample(sent, 250) {
			if wasRefused(t, env.create(o), o) {
				continue
			}
			written++
			if o["status"] != nil {
				require.False(t, wasRefused(t, env.writeStatus(o), o))
			}
		}
		return written
	}
	require.True(t, waitFor(func() bool { return env.create(env.webhookEvent(raw(`12`), nil)) == nil }), "the earlier definition is in force")
	assert.Greater(t, write(), 100)
	env.waitForPhase(env.deliver("another"), v1alpha1.PhaseDone)

	env.stop()
	written := write()
	installCRD(t, crds, readCRD(t))
	require.True(t, waitFor(func() bool {
		return apierrors.IsInvalid(env.create(env.webhookEvent(validSpec(uuid.NewString()).with("receivedAt", 12), nil)))
	}), "the definition of this version is in force")
	env.start()
	env.waitForPhase(env.deliver("after an upgrade"), v1alpha1.PhaseDone)
	t.Logf("%d objects existed when the definition changed", written)

	// If the API server refuses each status of an object, a Kubernetes Event reports it. The object is deleted after its TTL.
	require.True(t, waitFor(func() bool {
		var reports eventsv1.EventList
		require.NoError(t, env.client.List(t.Context(), &reports, client.InNamespace(env.namespace)))
		return slices.ContainsFunc(reports.Items, func(e eventsv1.Event) bool { return e.Reason == "StatusRefused" })
	}))
	env.waitForObjects("deleted, or done", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == v1alpha1.PhaseDone })
	assert.NoError(t, env.health.Ready(nil))
}

// A user who can create WebhookEvents can choose their source.
func TestObjectOfAnotherSourceShowsNoEventAndSuspendsNone(t *testing.T) {
	t.Parallel()
	env := newEnvironment(t, func(s *settings) { s.audit = 100 * time.Millisecond })
	busy := make(chan struct{})
	env.forward.script(func(int, *store.Attempt) operation.Outcome { <-busy; return operation.Outcome{} })
	id := env.deliver("apt1")
	env.waitUntil(id, "processed", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == v1alpha1.PhaseProcessing })
	for _, source := range []string{"other", "ghl-2", "a"} {
		require.NoError(t, env.create(env.webhookEvent(validSpec(id.String()).with("source", source).with("suspend", true), nil)))
	}
	env.waitForObjects("in error, except for the event's own", func(e *v1alpha1.WebhookEvent) bool { return e.Spec.Source == "ghl" || failedWithoutRow(e) })
	assert.False(t, query[bool](env, "SELECT suspended FROM webhook_events WHERE id = $1", id))

	close(busy)
	env.waitForPhase(id, v1alpha1.PhaseDone)
	env.waitForObjects("in error, except for the event's own", func(e *v1alpha1.WebhookEvent) bool { return e.Spec.Source == "ghl" || failedWithoutRow(e) })
}

func TestReplayRequestWithAnyValueIsServedOnce(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"with a NUL character": "a\x00b", "with line breaks": "a\n\t\r", "with many characters": strings.Repeat("é", 10_000), "with only a blank": " ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := newEnvironment(t)
			id := env.deliver("apt1")
			env.waitForPhase(id, v1alpha1.PhaseDone)
			env.edit(id, func(e *v1alpha1.WebhookEvent) {
				e.Annotations = map[string]string{
					v1alpha1.ReplayRequestedAtAnnotation: request, v1alpha1.ReplayFromAnnotation: v1alpha1.ReplayFromStart,
				}
			})
			env.waitUntil(id, "replayed", func(e *v1alpha1.WebhookEvent) bool {
				return e.Status.LastHandledReplay != "" && e.Status.Phase == v1alpha1.PhaseDone
			})
			env.assertNoStepFailed()
			env.edit(id, func(e *v1alpha1.WebhookEvent) { e.Annotations["another"] = "annotation" })
			env.waitForPhase(env.deliver("apt2"), v1alpha1.PhaseDone)
			assert.Equal(t, 2, env.forward.calls(id))
		})
	}
}
