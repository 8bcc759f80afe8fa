-- Locations of GoHighLevel for which its API has answered.

-- name: RecordLocation :exec
INSERT INTO ghl_locations (location_id) VALUES (@location_id::text) ON CONFLICT DO NOTHING;

-- name: LocationAnswered :one
SELECT EXISTS (SELECT 1 FROM ghl_locations WHERE location_id = @location_id::text);
