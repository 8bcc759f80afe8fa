package main

import (
	"context"
	"errors"
	"fmt"

	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/dfmiddleware/verity-sync/internal/metrics"
	"github.com/dfmiddleware/verity-sync/internal/plan"
)

// openPlanner sets up the configured destinations. They need not be reachable.
func openPlanner(ctx context.Context, options plan.Options) (*plan.Planner, error) {
	planner, err := plan.Open(ctx, options)
	if errors.Is(err, plan.ErrVerityDatabase) {
		return nil, permanent(err)
	}
	if err != nil {
		return nil, err
	}
	if leads := planner.Leads(); leads != nil {
		if err := metrics.RegisterPool(ctrlmetrics.Registry, "verity", leads.Stat); err != nil {
			planner.Close()
			return nil, fmt.Errorf("set up metrics: %w", err)
		}
	}
	return planner, nil
}
