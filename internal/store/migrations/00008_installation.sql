-- Which installation this database is of, so that two of them can share a namespace. It is part of every backup: a restored database is
-- that of the same installation.

-- +goose Up

CREATE TABLE verity_sync_installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO verity_sync_installation DEFAULT VALUES;
