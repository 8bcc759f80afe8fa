package relay_test

import (
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/internal/event"
	"github.com/dfmiddleware/verity-sync/internal/relay"
	"github.com/dfmiddleware/verity-sync/internal/store"
)

// denied is the location whose WebhookEvents the policies of these tests deny.
const denied = "denied"

// refusedRow has the columns of a row whose WebhookEvent was refused.
type refusedRow struct {
	Status, Reason, Message string
	Attempts                int
	Parked                  bool
}

func (b *environment) row(id uuid.UUID) refusedRow {
	b.t.Helper()
	var r refusedRow
	require.NoError(b.t, b.db.Pool().QueryRow(b.t.Context(), `
		SELECT status, coalesce(reason, ''), coalesce(error_message, ''), attempts, parked FROM webhook_events WHERE id = $1`, id).
		Scan(&r.Status, &r.Reason, &r.Message, &r.Attempts, &r.Parked))
	return r
}

// apply creates cluster-scoped objects for the test and returns a function that deletes them.
func (b *environment) apply(objects ...client.Object) (lift func()) {
	b.t.Helper()
	require.NoError(b.t, clientgoscheme.AddToScheme(b.client.Scheme()))
	for _, o := range objects {
		require.NoError(b.t, b.client.Create(b.t.Context(), o))
	}
	lift = func() {
		for _, o := range objects {
			assert.NoError(b.t, client.IgnoreNotFound(b.client.Delete(b.t.Context(), o)))
		}
	}
	b.t.Cleanup(func() {
		for _, o := range objects {
			_ = b.client.Delete(b.t.Context(), o)
		}
	})
	return lift
}

// untilDenied waits until the API server acts on the policy.
func (b *environment) untilDenied() {
	b.t.Helper()
	b.eventually("the policy is in force", func() bool { return !b.admitted() })
}

// admitted reports whether the API server would create a WebhookEvent of the location that the policies deny.
func (b *environment) admitted() bool {
	b.t.Helper()
	id := uuid.NewString()
	return b.client.Create(b.t.Context(), &v1alpha1.WebhookEvent{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NameOf("ghl", id), Namespace: b.namespace},
		Spec: v1alpha1.WebhookEventSpec{
			EventID: id, Source: "ghl", EventType: "x", EntityType: "x", LocationID: denied, ReceivedAt: metav1.NowMicro(),
		},
	}, client.DryRunAll) == nil
}

func (b *environment) here() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: b.namespace}}
}

// policy returns a ValidatingAdmissionPolicy that denies with the given reason, with its binding.
func policy(reason metav1.StatusReason) func(b *environment) (lift func()) {
	return func(b *environment) func() {
		return b.apply(
			&admissionregistrationv1.ValidatingAdmissionPolicy{
				ObjectMeta: metav1.ObjectMeta{Name: b.namespace},
				Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
					MatchConstraints: &admissionregistrationv1.MatchResources{
						ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: webhookEvents()}},
					},
					Validations: []admissionregistrationv1.Validation{{
						Expression: "object.spec.locationID != '" + denied + "'", Reason: &reason, Message: "this location has no contract",
					}},
				},
			},
			&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
				ObjectMeta: metav1.ObjectMeta{Name: b.namespace},
				Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
					PolicyName: b.namespace, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
					MatchResources: &admissionregistrationv1.MatchResources{NamespaceSelector: b.here()},
				},
			})
	}
}

func webhookEvents() admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, APIVersions: []string{"*"}, Resources: []string{"webhookevents"},
		},
	}
}

// answering serves admission reviews, and allows every other location.
func answering(b *environment, answer func(w http.ResponseWriter) *admissionv1.AdmissionResponse) admissionregistrationv1.WebhookClientConfig {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if !assert.NoError(b.t, json.NewDecoder(r.Body).Decode(&review)) {
			return
		}
		var e v1alpha1.WebhookEvent
		assert.NoError(b.t, json.Unmarshal(review.Request.Object.Raw, &e))
		response := &admissionv1.AdmissionResponse{Allowed: true}
		if e.Spec.LocationID == denied {
			if response = answer(w); response == nil {
				return
			}
		}
		response.UID = review.Request.UID
		review.Response = response
		assert.NoError(b.t, json.NewEncoder(w).Encode(review))
	}))
	b.t.Cleanup(server.Close)
	return admissionregistrationv1.WebhookClientConfig{
		URL:      new(server.URL),
		CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
}

// webhook returns a validating webhook that denies with the given status.
func webhook(status *metav1.Status) func(b *environment) (lift func()) {
	return webhookThat(func(http.ResponseWriter) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: status}
	})
}

func webhookThat(answer func(w http.ResponseWriter) *admissionv1.AdmissionResponse) func(b *environment) (lift func()) {
	return func(b *environment) func() {
		return b.apply(&admissionregistrationv1.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: b.namespace},
			Webhooks: []admissionregistrationv1.ValidatingWebhook{{
				Name: "policies.example.com", ClientConfig: answering(b, answer), NamespaceSelector: b.here(),
				Rules:       []admissionregistrationv1.RuleWithOperations{webhookEvents()},
				SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			}},
		})
	}
}

// breaking returns a mutating webhook that makes the object invalid.
func breaking(b *environment) (lift func()) {
	return b.apply(&admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: b.namespace},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "policies.example.com", NamespaceSelector: b.here(),
			ClientConfig: answering(b, func(http.ResponseWriter) *admissionv1.AdmissionResponse {
				return &admissionv1.AdmissionResponse{
					Allowed: true, PatchType: new(admissionv1.PatchTypeJSONPatch),
					Patch: []byte(`[{"op":"replace","path":"/spec/source","value":"Not A Name"}]`),
				}
			}),
			Rules:       []admissionregistrationv1.RuleWithOperations{webhookEvents()},
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	})
}

func code(code int32) *metav1.Status {
	return &metav1.Status{Code: code, Message: "not in this cluster"}
}

func TestARowIsRelayedWhenItsWebhookEventIsNoLongerDenied(t *testing.T) {
	t.Parallel()
	for name, deny := range map[string]func(b *environment) (lift func()){
		"a policy says that it is invalid (422)":          policy(metav1.StatusReasonInvalid),
		"a policy forbids it (403)":                       policy(metav1.StatusReasonForbidden),
		"a policy says that it is too large (413)":        policy(metav1.StatusReasonRequestEntityTooLarge),
		"a webhook answers 400":                           webhook(code(http.StatusBadRequest)),
		"a webhook answers 401":                           webhook(code(http.StatusUnauthorized)),
		"a webhook answers 403":                           webhook(code(http.StatusForbidden)),
		"a webhook answers 404":                           webhook(code(http.StatusNotFound)),
		"a webhook answers 409":                           webhook(code(http.StatusConflict)),
		"a webhook answers 413":                           webhook(code(http.StatusRequestEntityTooLarge)),
		"a webhook answers 422":                           webhook(code(http.StatusUnprocessableEntity)),
		"a webhook answers 429":                           webhook(code(http.StatusTooManyRequests)),
		"a webhook answers 500":                           webhook(code(http.StatusInternalServerError)),
		"a webhook answers without code":                  webhook(&metav1.Status{Message: "no"}),
		"a webhook answers without explanation":           webhook(nil),
		"a webhook says that it exists already":           webhook(&metav1.Status{Code: http.StatusConflict, Reason: metav1.StatusReasonAlreadyExists}),
		"a webhook says that it is invalid, with a cause": webhook(&metav1.Status{Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueInvalid, Field: "spec.locationID"}}}}),
		"a required webhook does not answer": webhookThat(func(w http.ResponseWriter) *admissionv1.AdmissionResponse {
			w.WriteHeader(http.StatusBadGateway)
			return nil
		}),
		"a webhook makes it invalid": breaking,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newEnvironment(t)
			lift := deny(b)
			b.untilDenied()
			w := b.relay(nil)
			refused := b.commit(w, func(e *event.Event) { e.LocationID = denied })
			b.eventually("it waits", func() bool { return b.row(refused).Parked })
			row := b.row(refused)
			assert.Equal(t, refusedRow{Status: "pending", Reason: v1alpha1.NotCreatedReason, Message: row.Message, Parked: true}, row)
			assert.Contains(t, row.Message, "the API server refused to create the WebhookEvent "+v1alpha1.NameOf("ghl", refused.String()))
			other := b.commit(w, func(e *event.Event) { e.LocationID = "loc1" })
			b.eventually("another one does not wait for it", func() bool { return b.get(other) != nil })
			stats, err := b.db.Stats(t.Context())
			require.NoError(t, err)
			assert.EqualValues(t, 1, stats.NotCreated)
			assert.Nil(t, b.get(refused))

			lift()

			b.eventually("it is relayed by itself", func() bool { return b.get(refused) != nil })
			b.eventually("marked", func() bool { return b.undispatched() == 0 })
			stats, err = b.db.Stats(t.Context())
			require.NoError(t, err)
			assert.Zero(t, stats.NotCreated)
			assert.Zero(t, b.row(refused).Attempts)
		})
	}
}

func TestMoreRefusedRowsThanABatchDelayNoOtherRow(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	for range 60 {
		b.commit(b.writer(nil), func(e *event.Event) { e.LocationID = denied })
	}
	good := b.commit(b.writer(nil), func(e *event.Event) { e.LocationID = "loc1" })
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 minute'`)
	lift := policy(metav1.StatusReasonInvalid)(b)
	b.untilDenied()
	w := b.relay(func(o *relay.Options) { o.Batch, o.MaxLive = 5, 10 })
	b.eventually("the good one is relayed", func() bool { return b.get(good) != nil })
	for range 5 {
		id := b.commit(w, func(e *event.Event) { e.LocationID = "loc1" })
		b.eventually("a new one is relayed", func() bool { return b.get(id) != nil })
		b.exec(`UPDATE webhook_events SET status = 'done', processed_at = now() WHERE id = $1`, id)
	}
	b.eventually("all wait", func() bool {
		stats, err := b.db.Stats(t.Context())
		require.NoError(t, err)
		return stats.NotCreated == 60
	})
	lift()
	b.eventually("the policy is no longer in force", b.admitted)
	b.exec(`UPDATE webhook_events SET next_attempt_at = now() WHERE parked`) // A minute is a long time.
	b.eventually("all are relayed", func() bool {
		b.exec(`UPDATE webhook_events SET status = 'done', processed_at = now() WHERE status = 'pending' AND dispatched_at IS NOT NULL`)
		return b.count() == 66
	})
}

func TestAFullQuotaDelaysEveryRow(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	require.NoError(t, clientgoscheme.AddToScheme(b.client.Scheme()))
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: b.namespace},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			"count/webhookevents.webhooks.dfmiddleware.io": resource.MustParse("0"),
		}},
	}
	require.NoError(t, b.client.Create(t.Context(), quota))
	quota.Status.Hard = quota.Spec.Hard
	quota.Status.Used = quota.Spec.Hard.DeepCopy()
	require.NoError(t, b.client.Status().Update(t.Context(), quota)) // No controller does.
	b.untilDenied()
	c := &creator{Client: b.client}
	w := b.relay(func(o *relay.Options) { o.Creator = c })
	first, second := b.commit(w, nil), b.commit(w, nil)
	b.eventually("one was refused", func() bool { return c.failed.Load() > 0 })
	require.NoError(t, b.client.Delete(t.Context(), quota))
	b.eventually("the first is relayed", func() bool { return b.get(first) != nil })
	b.eventually("the second is relayed", func() bool { return b.get(second) != nil })
	assert.Empty(t, b.row(first).Reason, "nothing is wrong with it")
}

// The relay's rules and the API's are the same: a row either has a WebhookEvent, or ends because it cannot have one.
func TestTheRelayKnowsWhichRowsCannotHaveAWebhookEvent(t *testing.T) {
	t.Parallel()
	b := newEnvironment(t)
	long := strings.Repeat("é", 5000)
	type sql string
	rows := map[string]struct {
		change any
		fits   bool
	}{
		"everything is long": {func(e *event.Event) {
			e.Type, e.EntityType, e.EntityID, e.LocationID, e.ContactID = long, long, long, long, long
		}, true},
		"every field is empty":          {func(e *event.Event) { e.Type, e.EntityType, e.EntityID, e.LocationID, e.ContactID = "", "", "", "", "" }, true},
		"ids of control characters":     {func(e *event.Event) { e.EntityID, e.LocationID, e.ContactID = "\x01\x1f\x7f", "\t\n\r", "\u2028\u202e" }, true},
		"ids of markup and quotes":      {func(e *event.Event) { e.EntityID, e.LocationID, e.Type = `"'<&>\`, `{{}}`, `a/b:c,d e` }, true},
		"ids beyond the basic plane":    {func(e *event.Event) { e.EntityID, e.Type = strings.Repeat("🙂", 300), strings.Repeat("🙂", 300) }, true},
		"a replacement character":       {func(e *event.Event) { e.EntityID = "\ufffd" }, true},
		"a source of 32 characters":     {func(e *event.Event) { e.Source = strings.Repeat("a", 32) }, true},
		"a source of 33 characters":     {func(e *event.Event) { e.Source = strings.Repeat("a", 33) }, false},
		"a source of one character":     {func(e *event.Event) { e.Source = "7" }, true},
		"a source with hyphens":         {func(e *event.Event) { e.Source = "a--b-c" }, true},
		"a source that ends in one":     {func(e *event.Event) { e.Source = "ghl-" }, false},
		"a source that begins with one": {func(e *event.Event) { e.Source = "-ghl" }, false},
		"a source in capitals":          {func(e *event.Event) { e.Source = "GHL" }, false},
		"a source with a dot":           {func(e *event.Event) { e.Source = "ghl.v2" }, false},
		"a source with a line break":    {func(e *event.Event) { e.Source = "ghl\n" }, false},
		"a source of other letters":     {func(e *event.Event) { e.Source = "größe" }, false},
		"no source":                     {func(e *event.Event) { e.Source = "" }, false},
		"received in the year 9999":     {sql(`received_at = '9999-12-30 00:00:00Z'`), true},
		"received in the year 10000":    {sql(`received_at = '10000-01-02 00:00:00Z'`), false},
		"received in the year 1":        {sql(`received_at = '0001-01-02 00:00:00Z'`), true},
		"received before our era":       {sql(`received_at = '0044-03-15 00:00:00Z BC'`), false},
		"received to the microsecond":   {sql(`received_at = '2026-11-23 10:00:00.000001Z'`), true},
	}
	ids := map[string]uuid.UUID{}
	for name, row := range rows {
		switch change := row.change.(type) {
		case func(*event.Event):
			ids[name] = b.commit(b.writer(nil), change)
		case sql:
			ids[name] = b.commit(b.writer(nil), nil)
			b.exec(`UPDATE webhook_events SET `+string(change)+` WHERE id = $1`, ids[name])
		}
	}
	b.exec(`UPDATE webhook_events SET received_at = received_at - interval '1 minute' WHERE received_at > now() - interval '1 minute'`)
	b.exec(`UPDATE webhook_events SET parked = true, next_attempt_at = now() WHERE received_at > now()`) // Else they are in the future.
	b.relay(nil)
	for name, row := range rows {
		if row.fits {
			b.eventually(name+": has a WebhookEvent", func() bool {
				var list v1alpha1.WebhookEventList
				require.NoError(t, b.client.List(t.Context(), &list, client.InNamespace(b.namespace)))
				for _, e := range list.Items {
					if e.Spec.EventID == ids[name].String() {
						return true
					}
				}
				return b.row(ids[name]).Reason != ""
			})
			assert.Equal(t, refusedRow{Status: "pending", Parked: b.row(ids[name]).Parked}, b.row(ids[name]), name)
			continue
		}
		b.eventually(name+": is in error", func() bool { return b.row(ids[name]).Status == string(store.StatusError) })
		got := b.row(ids[name])
		assert.Equal(t, v1alpha1.RejectedReason, got.Reason, name)
		assert.True(t, strings.HasPrefix(got.Message, "no WebhookEvent can be created for this event: "), "%s: %s", name, got.Message)
	}
}
