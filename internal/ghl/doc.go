// Package ghl turns GoHighLevel's webhooks into events. Source receives them; Reader reads stored ones. Underneath, Verifier decides
// whether a request is authentic, Decode which part of its body is stored, and Normalise what the body is about.
//
// GoHighLevel sends two kinds of bodies. Marketplace apps get signed envelopes with a type and a webhookId, flat except for appointments,
// which nest. Workflow actions send unsigned bodies without either, in snake case, with every custom field of the account at the root under
// its label. Both have variants, and any field may be missing or of an unexpected JSON type: reading never fails, it only finds less.
//
// The package knows no HTTP server, no database and no Kubernetes.
package ghl
