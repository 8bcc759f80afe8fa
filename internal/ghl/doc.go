// Package ghl turns what GoHighLevel posts into events. It says whether a request may be believed (Verifier), what of
// its body is stored (Decode) and what the body is about (Normalise).
//
// GHL posts two kinds of bodies. Marketplace apps get signed envelopes with a type and a webhookId, flat except for
// appointments, which nest. Workflow actions post unsigned bodies that carry neither, in snake case, with every custom
// field of the account at the root under its label. Both come in variants, and any field may be missing or of another
// JSON type than expected: reading never fails, it only says less.
//
// The package knows no HTTP server, no database and no Kubernetes.
package ghl
