// Package install tests an installation: what the chart and the kustomization render is applied to a real API server, and each container of
// each pod runs as the node would run it, under its own ServiceAccount. Nothing of it is imported.
package install
