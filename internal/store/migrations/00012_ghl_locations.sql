-- Which locations of GoHighLevel are known to be of this installation: those that its API answered for. A webhook can name any location.
-- When GoHighLevel refuses the token for one that is not here, the location may be an invention, and its events do not wait for a new token.

-- +goose Up

CREATE TABLE ghl_locations (
    location_id text PRIMARY KEY CHECK (length(location_id) <= 128),
    answered_at timestamptz NOT NULL DEFAULT now()
);
