// Package metrics declares what the processes measure: one struct for each area, with the names, labels and buckets that
// dashboards and alerts rely on. Units are base units, labels are bounded, and label sets that are known beforehand
// start at 0, so that the first failure is an increase and not a new series.
package metrics

const namespace = "verity_sync"
