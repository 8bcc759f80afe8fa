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
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/controllers"
	"github.com/dfmiddleware/verity-sync/internal/destination"
	"github.com/dfmiddleware/verity-sync/internal/operation"
	"github.com/dfmiddleware/verity-sync/internal/store"
	"github.com/dfmiddleware/verity-sync/test/testenv"
)

// newGenerator prints its seed, so that what was generated can be had again.
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

// validSpec is the least that the API server wants of an object that is made by hand.
func validSpec(id string) object {
	return object{"eventID": id, "source": "ghl", "eventType": "x", "entityType": "y", "receivedAt": "2026-11-23T10:00:00Z"}
}

// with returns an object with one field changed, or left out where the value is nil.
func (o object) with(field string, value any) object {
	changed := object{}
	maps.Copy(changed, o)
	if changed[field] = value; value == nil {
		delete(changed, field)
	}
	return changed
}

// webhookEvent is a WebhookEvent as it is sent, under the name that its spec asks for.
func (s *suite) webhookEvent(spec any, metadata object) object {
	s.t.Helper()
	name := "ghl-" + uuid.NewString()
	if spec, ok := spec.(object); ok {
		name = fmt.Sprintf("%v-%v", spec["source"], spec["eventID"])
	}
	metadata = metadata.with("namespace", s.namespace)
	if metadata["name"] == nil {
		metadata["name"] = name
	}
	return object{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "WebhookEvent", "metadata": metadata, "spec": spec}
}

// create sends an object as it is.
func (s *suite) create(o object) error {
	s.t.Helper()
	return s.send(s.rest().Post(), o)
}

// writeStatus sends an object as it is to its status, over the version that is there.
func (s *suite) writeStatus(o object) error {
	s.t.Helper()
	var err error
	if !eventually(func() bool {
		there := &v1alpha1.WebhookEvent{}
		name, _ := o["metadata"].(object)["name"].(string)
		require.NoError(s.t, s.client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, there))
		o["metadata"].(object)["resourceVersion"] = there.ResourceVersion
		err = s.send(s.rest().Put().Suffix(name, "status"), o)
		return !apierrors.IsConflict(err)
	}) {
		s.t.Fatalf("the status cannot be written: %v", err)
	}
	return err
}

func (s *suite) send(r *rest.Request, o object) error {
	s.t.Helper()
	body, err := json.Marshal(o)
	require.NoError(s.t, err)
	return r.AbsPath("apis", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version, "namespaces", s.namespace, "webhookevents").
		SetHeader("Content-Type", "application/json").Body(body).Do(s.t.Context()).Error()
}

func (s *suite) rest() rest.Interface {
	s.t.Helper()
	clients, err := kubernetes.NewForConfig(s.cluster)
	require.NoError(s.t, err)
	return clients.RESTClient()
}

// refused reports whether the API server refused what was sent for what it is.
func refused(t *testing.T, err error, sent object) bool {
	t.Helper()
	if err == nil {
		return false
	}
	// A metadata that does not decode is an internal error to it.
	require.True(t, apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInternalError(err) ||
		apierrors.IsRequestEntityTooLargeError(err), "%v: %v", sent, err)
	return true
}

// everyObject waits until every object of the namespace is as wanted.
func (s *suite) everyObject(what string, is func(*v1alpha1.WebhookEvent) bool) {
	s.t.Helper()
	var left []string
	if !within(10*timeout, func() bool {
		left = nil
		var all v1alpha1.WebhookEventList
		require.NoError(s.t, s.client.List(s.t.Context(), &all, client.InNamespace(s.namespace)))
		for i := range all.Items {
			if !is(&all.Items[i]) {
				left = append(left, fmt.Sprintf("%s: %+v %+v", all.Items[i].Name, all.Items[i].Spec, all.Items[i].Status))
			}
		}
		return len(left) == 0
	}) {
		s.t.Fatalf("waited in vain until every object is %s; these are not:\n%s", what, strings.Join(left[:min(len(left), 5)], "\n"))
	}
}

// endsVisibly is in error for the reason that there is no row.
func endsVisibly(e *v1alpha1.WebhookEvent) bool {
	return e.Status.Phase == v1alpha1.PhaseError && readyReason(e) == v1alpha1.RowNotFoundReason
}

// noStepFailed says that nothing is tried again and again.
func (s *suite) noStepFailed() {
	s.t.Helper()
	families, err := s.registry.Gather()
	require.NoError(s.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "verity_sync_step_duration_seconds" && l.GetValue() == "error" {
					assert.Zero(s.t, m.GetHistogram().GetSampleCount(), "%v", m.GetLabel())
				}
			}
		}
	}
}

// some returns so many of the values, in their order.
func (g generator) some(values []object, many int) []object {
	chosen := g.Perm(len(values))[:min(many, len(values))]
	slices.Sort(chosen)
	picked := make([]object, len(chosen))
	for i, at := range chosen {
		picked[i] = values[at]
	}
	return picked
}

// oddMetadata are metadata that somebody may send.
var oddMetadata = map[string]any{
	"labels": raw(`null`), "annotations": raw(`{"a": null, "webhooks.dfmiddleware.io/replay-requested-at": "\n\u0000"}`),
	"finalizers": raw(`["example.com/keep"]`), "ownerReferences": raw(`[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"y"}]`),
	"creationTimestamp": raw(`"2026-11-23T10:00:00.5Z"`), "deletionTimestamp": raw(`"rubbish"`), "managedFields": raw(`[{"time":"rubbish"}]`),
	"generation": raw(`1e10`), "resourceVersion": raw(`""`), "uid": raw(`12`), "selfLink": raw(`[]`), "unknown": raw(`{}`),
	"generateName": raw(`"ghl-"`), "deletionGracePeriodSeconds": raw(`99999999999999999999`),
}

// Whatever the custom resource definition admits is sent through a real API server into a running controller.
func TestEveryObjectThatIsAdmittedEndsVisiblyAndStopsNoOther(t *testing.T) {
	t.Parallel()
	g := newGenerator(t)
	spec, _ := schemas(t)
	s := newSuite(t)
	require.True(t, eventually(func() bool { return s.health.Ready(nil) == nil }))

	var sent []object
	for _, field := range append(slices.Sorted(maps.Keys(spec.Properties)), "unknown") {
		for _, value := range append(g.odd(spec.Properties[field]), nil) {
			sent = append(sent, s.webhookEvent(validSpec(uuid.NewString()).with(field, value), nil))
		}
	}
	for range 50 {
		sent = append(sent, s.webhookEvent(g.valid(spec), nil))
	}
	for field, value := range oddMetadata {
		sent = append(sent, s.webhookEvent(validSpec(uuid.NewString()), object{field: value}))
	}
	for _, value := range []string{`null`, `12`, `"text"`, `[]`, `{}`} {
		sent = append(sent, s.webhookEvent(raw(value), nil))
	}
	admitted := 0
	for _, o := range sent {
		if !refused(t, s.create(o), o) {
			admitted++
		}
	}
	t.Logf("the API server admitted %d of %d objects", admitted, len(sent))
	assert.Greater(t, admitted, 50, "enough were admitted for this to be a test")
	assert.Greater(t, len(sent)-admitted, 50, "and enough were odd")

	s.everyObject("in error", endsVisibly)
	s.untilPhase(s.post("beside"), v1alpha1.PhaseDone)
	s.noStepFailed()
	s.stop()
	s.start()
	s.untilPhase(s.post("after a restart"), v1alpha1.PhaseDone)
	assert.NoError(t, s.health.Ready(nil))
}

// A status is the controller's to write, but others may be able to.
func TestAnEventEndsWhateverWasWrittenIntoItsStatus(t *testing.T) {
	t.Parallel()
	g := newGenerator(t)
	_, status := schemas(t)
	var statuses []object
	for _, field := range append(slices.Sorted(maps.Keys(status.Properties)), "unknown") {
		for _, value := range g.odd(status.Properties[field]) {
			statuses = append(statuses, object{"status": object{field: value}})
		}
	}
	statuses = g.some(statuses, 200)
	for range 30 {
		statuses = append(statuses, object{"status": g.valid(status)})
	}
	for _, value := range []string{`null`, `12`, `[]`, `{}`} {
		statuses = append(statuses, object{"status": raw(value)})
	}

	s := newSuite(t, func(s *settings) {
		s.audit, s.backoff = 100*time.Millisecond, controllers.Backoff{Base: 2 * time.Second, Max: 2 * time.Second, MaxAttempts: 1000}
		s.finishedLimit, s.maxWaiting = len(statuses)+100, len(statuses)+100
	})
	failure := failing(destination.Transient, "answered 503")
	s.forward.script(func(int, *store.Attempt) operation.Outcome { return failure })
	ids := make([]uuid.UUID, len(statuses))
	for i := range statuses {
		ids[i] = s.post(fmt.Sprintf("entity%d", i))
	}
	admitted := 0
	for i, status := range statuses {
		event := s.until(ids[i], "shown", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Attempts > 0 })
		o := s.webhookEvent(validSpec(ids[i].String()), nil).with("status", status["status"])
		if refused(t, s.writeStatus(o), o) {
			continue
		}
		admitted++
		assert.NotEqual(t, v1alpha1.PhaseDone, event.Status.Phase)
	}
	t.Logf("the API server admitted %d of %d statuses", admitted, len(statuses))
	assert.Greater(t, admitted, 50)

	s.forward.script(nil)
	for _, id := range ids {
		s.untilReason(id, v1alpha1.DoneReason)
		assert.Equal(t, "done", value[string](s, "SELECT status FROM webhook_events WHERE id = $1", id))
	}
	s.noStepFailed()
}

// earlierCRD admits everything.
func earlierCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	crd := readCRD(t)
	version := &crd.Spec.Versions[0]
	version.Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}
	version.SelectableFields = nil
	return crd
}

// What is in etcd is not validated again when the definition changes.
func TestObjectsThatAnEarlierDefinitionAdmittedStopNoOther(t *testing.T) {
	t.Parallel()
	server := testenv.KubernetesServer(t)
	crds := crdClient(t, server.Config())
	installCRD(t, crds, earlierCRD(t))
	g := newGenerator(t)
	spec, status := schemas(t)
	s := newSuite(t, func(s *settings) { s.cluster, s.ttl.Error = server.Config(), 3*time.Second })

	write := func() (written int) {
		var sent []object
		for _, field := range slices.Sorted(maps.Keys(spec.Properties)) {
			for _, value := range append(g.odd(spec.Properties[field]), nil) {
				sent = append(sent, s.webhookEvent(validSpec(uuid.NewString()).with(field, value), object{"name": "odd-" + uuid.NewString()}))
			}
		}
		for _, field := range slices.Sorted(maps.Keys(status.Properties)) {
			for _, value := range g.odd(status.Properties[field]) {
				sent = append(sent, s.webhookEvent(validSpec(uuid.NewString()), nil).with("status", object{field: value}))
			}
		}
		for _, value := range []string{`null`, `12`, `"text"`, `[]`, `{}`} {
			sent = append(sent, s.webhookEvent(raw(value), nil), s.webhookEvent(validSpec(uuid.NewString()), nil).with("status", raw(value)))
		}
		for _, o := range g.some(sent, 250) {
			if refused(t, s.create(o), o) {
				continue
			}
			written++
			if o["status"] != nil {
				require.False(t, refused(t, s.writeStatus(o), o))
			}
		}
		return written
	}
	require.True(t, eventually(func() bool { return s.create(s.webhookEvent(raw(`12`), nil)) == nil }), "the earlier definition is in force")
	assert.Greater(t, write(), 100)
	s.untilPhase(s.post("beside"), v1alpha1.PhaseDone)

	s.stop()
	written := write()
	installCRD(t, crds, readCRD(t))
	require.True(t, eventually(func() bool {
		return apierrors.IsInvalid(s.create(s.webhookEvent(validSpec(uuid.NewString()).with("receivedAt", 12), nil)))
	}), "the definition of this version is in force")
	s.start()
	s.untilPhase(s.post("after an upgrade"), v1alpha1.PhaseDone)
	t.Logf("%d objects were there when the definition changed", written)

	// What the API server takes no status for is reported in another way, and goes at the end of its time as the others do.
	require.True(t, eventually(func() bool {
		var reports eventsv1.EventList
		require.NoError(t, s.client.List(t.Context(), &reports, client.InNamespace(s.namespace)))
		return slices.ContainsFunc(reports.Items, func(e eventsv1.Event) bool { return e.Reason == "StatusRefused" })
	}))
	s.everyObject("gone, or done", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == v1alpha1.PhaseDone })
	assert.NoError(t, s.health.Ready(nil))
}

// Whoever may create WebhookEvents can choose their source.
func TestAnObjectOfAnotherSourceShowsNoEventAndHoldsNone(t *testing.T) {
	t.Parallel()
	s := newSuite(t, func(s *settings) { s.audit = 100 * time.Millisecond })
	busy := make(chan struct{})
	s.forward.script(func(int, *store.Attempt) operation.Outcome { <-busy; return operation.Outcome{} })
	id := s.post("apt1")
	s.until(id, "processed", func(e *v1alpha1.WebhookEvent) bool { return e.Status.Phase == v1alpha1.PhaseProcessing })
	for _, source := range []string{"other", "ghl-2", "a"} {
		require.NoError(t, s.create(s.webhookEvent(validSpec(id.String()).with("source", source).with("suspend", true), nil)))
	}
	s.everyObject("in error, but for the event's", func(e *v1alpha1.WebhookEvent) bool { return e.Spec.Source == "ghl" || endsVisibly(e) })
	assert.False(t, value[bool](s, "SELECT suspended FROM webhook_events WHERE id = $1", id))

	close(busy)
	s.untilPhase(id, v1alpha1.PhaseDone)
	s.everyObject("in error, but for the event's", func(e *v1alpha1.WebhookEvent) bool { return e.Spec.Source == "ghl" || endsVisibly(e) })
}

func TestAReplayRequestIsServedOnceWhateverItsValueIs(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"with a NUL character": "a\x00b", "with line breaks": "a\n\t\r", "of many characters": strings.Repeat("é", 10_000), "a blank": " ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuite(t)
			id := s.post("apt1")
			s.untilPhase(id, v1alpha1.PhaseDone)
			s.change(id, func(e *v1alpha1.WebhookEvent) {
				e.Annotations = map[string]string{
					v1alpha1.ReplayRequestedAtAnnotation: request, v1alpha1.ReplayFromAnnotation: v1alpha1.ReplayFromStart,
				}
			})
			s.until(id, "replayed", func(e *v1alpha1.WebhookEvent) bool {
				return e.Status.LastHandledReplay != "" && e.Status.Phase == v1alpha1.PhaseDone
			})
			s.noStepFailed()
			s.change(id, func(e *v1alpha1.WebhookEvent) { e.Annotations["another"] = "annotation" })
			s.untilPhase(s.post("apt2"), v1alpha1.PhaseDone)
			assert.Equal(t, 2, s.forward.calls(id))
		})
	}
}
