-- Every column of every table of the schema: its type, whether it is an identity column, and its position in the
-- primary key.
SELECT CAST(t.relname AS TEXT) AS table_name, CAST(c.attname AS TEXT) AS column_name,
       CAST(y.typname AS TEXT) AS type, c.attidentity <> '' AS is_identity,
       array_position(k.conkey, c.attnum) AS place_in_key
FROM pg_class t
JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = current_schema()
JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped
JOIN pg_type y ON y.oid = c.atttypid
LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition
ORDER BY t.relname, c.attnum
