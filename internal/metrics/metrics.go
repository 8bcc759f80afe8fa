// Package metrics declares the metrics of the processes: one struct for each area, with the names, labels and buckets that dashboards and
// alerts rely on. Units are base units, labels are bounded, and known label sets start at 0, so that the first failure is an increase and
// not a new series.
package metrics

const namespace = "verity_sync"
