-- When autovacuum visits the tables that change with every event and that retention empties. The values are measured: see "Bloat" in
-- docs/performance.md. A value that somebody has set already stays. This rewrites nothing and blocks neither reads nor writes.

-- +goose Up

-- +goose StatementBegin
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            -- A tenth of Postgres' default. A fifth of months of history is more than a long burst leaves behind.
            ('webhook_events', 'autovacuum_vacuum_scale_factor', '0.02'),
            ('webhook_events', 'autovacuum_vacuum_threshold', '1000'),
            ('sync_log', 'autovacuum_vacuum_scale_factor', '0.02'),
            ('sync_log', 'autovacuum_vacuum_threshold', '1000')
        ) AS w (relation, option, value)
        WHERE NOT EXISTS (
            SELECT FROM pg_class c, pg_options_to_table(c.reloptions) o
            WHERE c.oid = w.relation::regclass AND o.option_name = w.option)
    LOOP
        EXECUTE format('ALTER TABLE %I SET (%s = %s)', wanted.relation, wanted.option, wanted.value);
    END LOOP;
END
$$;
-- +goose StatementEnd
