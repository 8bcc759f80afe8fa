package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dfmiddleware/verity-sync/test/sim/fault"
)

// kind is a way to break something.
type kind struct {
	name string
	// does breaks it, and repairs it in the end.
	does func(ctx context.Context, b *breaking) error
	// marks says what may be seen meanwhile.
	marks Fault
	// lane is what is broken, where other lanes may be broken at the same time, and "" where nothing else may.
	lane string
	// slow says why it takes long; only the long run has slow kinds.
	slow string
	// first puts it before the others, where there is time for some only.
	first bool
}

// breaking is a fault that is being made.
type breaking struct {
	*environment
	load *load
	// long is about how long what is broken stays so.
	long  time.Duration
	fault *Fault
}

var (
	forgets = Fault{Forgets: true}
	refuses = Fault{Refuses: true}
)

// kinds are all faults that are made.
func kinds() []kind {
	return slices.Concat(processKinds(), postgresKinds(), apiServerKinds(), userKinds(), destinationKinds(), stuckKinds())
}

// within has f end by itself if what it waits for does not come.
func within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	return f(ctx)
}

// until waits for something to be so.
func until(ctx context.Context, what string, is func(context.Context) bool) error {
	return within(ctx, func(ctx context.Context) error {
		for !is(ctx) {
			if !pause(ctx, tick/2) {
				return fmt.Errorf("wait until %s: %w", what, ctx.Err())
			}
		}
		return nil
	})
}

// midCall makes another fault while destinations take their time, and as soon as one of them is called.
func midCall(does func(context.Context, *breaking) error) func(context.Context, *breaking) error {
	return func(ctx context.Context, b *breaking) error {
		verity, aloware := &b.system.Verity.Faults, &b.system.Aloware.Faults
		slow := fault.Fault{Kind: fault.Delay, DelayMillis: slowness, Times: -1}
		defer verity.Clear()
		defer aloware.Clear()
		if err := errors.Join(verity.Add(slow), aloware.Add(slow)); err != nil {
			return fmt.Errorf("script a slow answer: %w", err)
		}
		calls := b.calls.Load()
		for b.calls.Load() == calls && pause(ctx, tick/10) {
			continue
		}
		pause(ctx, b.long%(slowness*time.Millisecond))
		return does(ctx, b)
	}
}

// slowness is how long a slow destination takes, in milliseconds.
const slowness = 800

// rounds says which faults are made in which order: all kinds in an order of chance, those that come first before the others. A round has
// several faults at the same time only in a short run.
func rounds(all []kind, short bool, random interface{ Perm(int) []int }) [][]kind {
	var list [][]kind
	lanes := map[string]int{} // which round has the next of a lane
	for _, first := range []bool{true, false} {
		for _, i := range random.Perm(len(all)) {
			k := all[i]
			switch {
			case k.first != first || short && k.slow != "":
			case k.lane == "" || !short:
				list = append(list, []kind{k})
			default:
				at := lanes[k.lane]
				for at < len(list) && list[at][0].lane == "" {
					at++
				}
				if at == len(list) {
					list = append(list, nil)
				}
				list[at] = append(list[at], k)
				lanes[k.lane] = at + 1
			}
		}
	}
	return list
}
