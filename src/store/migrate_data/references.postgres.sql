-- Pairs of tables with a foreign key from the first to the second.
SELECT DISTINCT CAST(t.relname AS TEXT) AS table_name, CAST(f.relname AS TEXT) AS referred
FROM pg_constraint r
JOIN pg_class t ON t.oid = r.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = current_schema()
JOIN pg_class f ON f.oid = r.confrelid
WHERE r.contype = 'f' AND t.oid <> f.oid
