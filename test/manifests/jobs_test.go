package manifests_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// permanent is the exit code of `verity-sync migrate` where no retry helps; cmd/verity-sync holds the processes to it.
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
