// Package v1alpha1 is the API of verity-sync: the WebhookEvent, one for each webhook that is in progress or finished
// recently.
//
// +kubebuilder:object:generate=true
// +groupName=webhooks.dfmiddleware.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of this API.
	GroupVersion = schema.GroupVersion{Group: "webhooks.dfmiddleware.io", Version: "v1alpha1"}

	// SchemeGroupVersion is the same, under the name that kubebuilder's generated types use.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder collects the functions that add the types of this API to a scheme.
	SchemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &WebhookEvent{}, &WebhookEventList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})

	// AddToScheme adds the types of this API to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)
