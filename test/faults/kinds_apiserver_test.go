package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/dfmiddleware/verity-sync/api/v1alpha1"
	"github.com/dfmiddleware/verity-sync/test/sim/fault"
	"github.com/dfmiddleware/verity-sync/test/testenv/controlplane"
	"github.com/dfmiddleware/verity-sync/test/testenv/repo"
	"github.com/dfmiddleware/verity-sync/test/testenv/system"
)

// laneKubernetes is that of what is done to the API server and to WebhookEvents.
const laneKubernetes = "kubernetes"

const (
	waitsForAPIServer = "the API server stays down for so long"
	waitsForRetry     = "a controller that has lost its kind looks for it every ten seconds"
)

func apiServerKinds() []kind {
	apiServer := func(e *environment) *controlplane.Component { return e.system.ControlPlane.APIServer }
	etcd := func(e *environment) *controlplane.Component { return e.system.ControlPlane.Etcd }
	return []kind{
		{name: "the API server is killed", lane: laneKubernetes, does: endComponent(apiServer, 0)},
		{name: "the API server is down for 10 seconds", does: endComponent(apiServer, 10*time.Second), slow: waitsForAPIServer},
		{name: "the API server is down for 75 seconds", does: endComponent(apiServer, 75*time.Second), slow: waitsForAPIServer},
		{name: "everything starts while the API server is down", does: startWithout(apiServer), marks: Fault{Refuses: true, Forgets: true}, slow: waitsForLease},
		{name: "etcd is killed", lane: laneKubernetes, does: endComponent(etcd, 0)},
		{name: "the API server answers 429", lane: laneKubernetes, does: answering(tooManyRequests())},
		{name: "the API server answers 500", lane: laneKubernetes, does: answering(fault.Status(http.StatusInternalServerError))},
		{name: "the API server is slow", lane: laneKubernetes, does: answering(fault.Fault{Kind: fault.Delay, DelayMillis: slowness, Match: notAWatch})},
		{name: "the API server's answers are lost", lane: laneKubernetes, does: answering(fault.Fault{Kind: fault.ResetAfterHandling, Match: notAWatch})},
		{name: "every status write meets a conflict", lane: laneKubernetes, does: answering(conflict())},
		{name: "the watches are closed repeatedly", lane: laneKubernetes, does: closeWatches},
		{name: "the roles are revoked and restored", lane: laneKubernetes, does: revoke(0)},
		{name: "the roles are revoked for longer than a lease", does: revoke(leaseDuration), marks: forgets, slow: waitsForLease},
		{
			name: "everything starts before its custom resource definition is there", does: startWithoutCRD,
			marks: Fault{Refuses: true, Forgets: true, Deletes: true}, slow: waitsForRetry,
		},
	}
}

func endComponent(which func(*environment) *controlplane.Component, atLeast time.Duration) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		err := which(b.environment).Kill()
		pause(ctx, max(b.long, atLeast))
		return errors.Join(err, within(ctx, which(b.environment).Start))
	}
}

// startWithout restarts everything while a component is down for a while.
func startWithout(which func(*environment) *controlplane.Component) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		return errors.Join(which(b.environment).Kill(), b.restartAll(ctx, 10*time.Second), within(ctx, which(b.environment).Start))
	}
}

// restartAll kills all replicas and leaves it to those who look after them to bring them up, for as long as given. Receivers must be up then.
func (b *breaking) restartAll(ctx context.Context, wait time.Duration) error {
	var failures []error
	for _, r := range b.replicas {
		failures = append(failures, r.end(r.Kill, false))
	}
	pause(ctx, wait)
	for _, r := range b.receivers() {
		failures = append(failures, until(ctx, r.Name+" is ready", func(ctx context.Context) bool {
			_, err := get(ctx, r.URL+"/readyz")
			return err == nil
		}))
	}
	return errors.Join(failures...)
}

// answering has the API server's answers to the processes go wrong.
func answering(f fault.Fault) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		f.Times = -1
		if err := b.api.faults.Add(f); err != nil {
			return fmt.Errorf("script the API server: %w", err)
		}
		pause(ctx, b.long)
		b.api.faults.Clear()
		return nil
	}
}

// tooManyRequests is what API Priority and Fairness answers.
func tooManyRequests() fault.Fault {
	f := fault.Fault{
		Kind: fault.Answer, Status: http.StatusTooManyRequests, Match: notAWatch,
		Header: http.Header{"Retry-After": {"1"}, "Content-Type": {"text/plain; charset=utf-8"}},
	}
	f.Body = "Too many requests, please try again later.\n"
	return f
}

func conflict() fault.Fault {
	f := fault.JSON(http.StatusConflict, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,`+
		`"message":"the object has been modified; please apply your changes to the latest version and try again"}`)
	f.Match = statusWrites
	return f
}

func closeWatches(ctx context.Context, b *breaking) error {
	for end := time.Now().Add(b.long); time.Now().Before(end); {
		if err := until(ctx, "a client watches", func(context.Context) bool { return b.api.closeWatches() > 0 }); err != nil {
			return err
		}
		pause(ctx, 4*tick)
	}
	return nil
}

// roles are those of config/rbac, so that nothing works here for which a right is missing there.
func roles() ([]*rbacv1.Role, error) {
	var all []*rbacv1.Role
	for _, file := range []string{"controller_role.yaml", "receiver_role.yaml"} {
		path, err := repo.Path("config", "rbac", file)
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read a role: %w", err)
		}
		role := &rbacv1.Role{}
		if err := yaml.UnmarshalStrict(content, role); err != nil {
			return nil, fmt.Errorf("read the role in %s: %w", file, err)
		}
		all = append(all, role)
	}
	return all, nil
}

func binding(role *rbacv1.Role, namespace string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name, Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
}

// grant gives the processes their rights.
func grant(ctx context.Context, s *system.System) error {
	all, err := roles()
	if err != nil {
		return err
	}
	for _, role := range all {
		role.Namespace = s.Namespace
		for _, object := range []client.Object{role, binding(role, s.Namespace)} {
			if err := s.Kubernetes.Create(ctx, object); err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("grant %s: %w", role.Name, err)
			}
		}
	}
	return nil
}

func revoke(atLeast time.Duration) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		all, err := roles()
		for _, role := range all {
			err = errors.Join(err, b.system.Kubernetes.Delete(ctx, binding(role, b.system.Namespace)))
		}
		pause(ctx, max(b.long, atLeast))
		return errors.Join(err, grant(ctx, b.system))
	}
}

// startWithoutCRD has everything start while its kind is unknown. All WebhookEvents go with it.
func startWithoutCRD(ctx context.Context, b *breaking) error {
	config := b.system.ControlPlane.Config()
	path, err := repo.Path("config", "crd", "bases")
	if err != nil {
		return err
	}
	options := envtest.CRDInstallOptions{Paths: []string{path}, ErrorIfPathMissing: true}
	err = envtest.UninstallCRDs(config, options)
	err = errors.Join(err, until(ctx, "the custom resource definition is gone", func(ctx context.Context) bool {
		return apierrors.IsNotFound(b.system.Kubernetes.List(ctx, &v1alpha1.WebhookEventList{}, client.InNamespace(b.system.Namespace)))
	}), b.restartAll(ctx, b.long))
	_, repairErr := envtest.InstallCRDs(config, options)
	return errors.Join(err, repairErr)
}
