-- Which versions of verity-sync may serve on this schema. During a rollout, and after `helm rollback`, processes of an older version start
-- on a schema that a newer one has migrated. They may, unless a migration says otherwise.
--
-- A migration that only adds (a nullable column, one with a default, a table, an index) leaves this alone. One that takes away or changes
-- what an older version reads or writes raises oldest_version to the lowest schema version whose binaries can do with the result:
--
--     UPDATE verity_sync_schema_compatibility SET oldest_version = 7;

-- +goose Up

CREATE TABLE verity_sync_schema_compatibility (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    oldest_version bigint NOT NULL
);
-- Older binaries refuse every schema that is newer than they are.
INSERT INTO verity_sync_schema_compatibility (oldest_version) VALUES (5);
