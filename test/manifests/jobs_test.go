package manifests_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
)

// permanent is the exit code of `verity-sync migrate` where no retry helps; cmd holds the processes to it.
const permanent = 3

func TestTheMigrationsJobEndsAtOnceWhereNoRetryHelpsAndShowsWhy(t *testing.T) {
	t.Parallel()
	for name, render := range rendered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, object := range render(t) {
				if object.GetKind() != "Job" {
					continue
				}
				var job batchv1.Job
				require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &job, true))
				assert.Equal(t, corev1.RestartPolicyNever, job.Spec.Template.Spec.RestartPolicy)
				container := job.Spec.Template.Spec.Containers[0]
				assert.Equal(t, corev1.TerminationMessageFallbackToLogsOnError, container.TerminationMessagePolicy)
				require.NotNil(t, job.Spec.PodFailurePolicy)
				assert.Equal(t, []batchv1.PodFailurePolicyRule{
					{
						Action: batchv1.PodFailurePolicyActionFailJob,
						OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
							ContainerName: &container.Name, Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{permanent},
						},
					},
					{
						Action: batchv1.PodFailurePolicyActionIgnore,
						OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
							{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
						},
					},
				}, job.Spec.PodFailurePolicy.Rules)
			}
		})
	}
}

func TestTheMigrationsJobChecksVeritysDatabaseWhereTheSecretNamesOne(t *testing.T) {
	t.Parallel()
	const url = "postgres://example.com/verity"
	for name, tc := range map[string]struct {
		arguments []string
		secret    string
		// created is what the chart's own Secret for the Job has.
		created map[string]any
	}{
		"a Secret of one's own":                      {nil, "verity-sync", nil},
		"a Secret of one's own, of the Job":          {[]string{"--set=migrate.secretName=owner"}, "owner", nil},
		"the chart's Secret, without Verity":         {[]string{"--set=secret.create=true,secret.data.DATABASE_URL=postgres://example.com/one"}, "verity-sync-migrate", map[string]any{"DATABASE_URL": "postgres://example.com/one"}},
		"the chart's Secret, with Verity":            {[]string{"--set=secret.create=true,secret.data.DATABASE_URL=postgres://example.com/one,secret.data.VERITY_DATABASE_URL=" + url}, "verity-sync-migrate", map[string]any{"DATABASE_URL": "postgres://example.com/one", "VERITY_DATABASE_URL": url}},
		"the chart's Secret, and another of the Job": {[]string{"--set=secret.create=true,migrate.secretName=owner,secret.data.DATABASE_URL=postgres://example.com/one"}, "owner", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifests, err := helm(t, append([]string{"template", "verity-sync", file(t, "config", "chart")}, tc.arguments...)...)
			require.NoError(t, err)
			var created map[string]any
			jobs := 0
			for _, object := range objects(t, manifests) {
				switch {
				case object.GetKind() == "Secret" && object.GetName() == "verity-sync-migrate":
					created, _, err = unstructured.NestedMap(object.Object, "stringData")
					require.NoError(t, err)
				case object.GetKind() == "Job" && object.GetName() == "verity-sync-migrate":
					jobs++
					assertVerityIsOptional(t, object, tc.secret)
				}
			}
			assert.Equal(t, 1, jobs)
			assert.Equal(t, tc.created, created)
		})
	}
	t.Run("kustomize", func(t *testing.T) {
		t.Parallel()
		content, err := os.ReadFile(file(t, "config", "migrate", "job.yaml"))
		require.NoError(t, err)
		assertVerityIsOptional(t, objects(t, content)[0], "verity-sync")
	})
}

func assertVerityIsOptional(t *testing.T, object *unstructured.Unstructured, secret string) {
	t.Helper()
	var job batchv1.Job
	require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &job, true))
	optional := map[string]bool{}
	for _, variable := range job.Spec.Template.Spec.Containers[0].Env {
		require.NotNil(t, variable.ValueFrom, variable.Name)
		from := variable.ValueFrom.SecretKeyRef
		assert.Equal(t, secret, from.Name)
		assert.Equal(t, variable.Name, from.Key)
		optional[variable.Name] = ptr.Deref(from.Optional, false)
	}
	assert.Equal(t, map[string]bool{"DATABASE_URL": false, "VERITY_DATABASE_URL": true}, optional)
}
