package store

import "context"

// RecordLocation records that GoHighLevel's API responded for a location, which proves that the location belongs to this installation.
func (s *Store) RecordLocation(ctx context.Context, locationID string) error {
	return s.wrap(s.q.RecordLocation(ctx, locationID), "record location %s", locationID)
}

// LocationAnswered reports whether GoHighLevel's API has ever responded for a location.
func (s *Store) LocationAnswered(ctx context.Context, locationID string) (bool, error) {
	answered, err := s.q.LocationAnswered(ctx, locationID)
	return answered, s.wrap(err, "look up location %s", locationID)
}
