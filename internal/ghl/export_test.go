package ghl

// NewVerifierWithPublishedKey is NewVerifier with another key in the place of GHL's.
var NewVerifierWithPublishedKey = newVerifier
