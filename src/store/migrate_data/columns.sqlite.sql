-- Every column of every table, except SQLite's own tables and sqlx's record of migrations.
SELECT t.name AS table_name, c.name AS column_name
FROM sqlite_schema t, pragma_table_info(t.name) c
WHERE t.type = 'table' AND t.name NOT GLOB 'sqlite_*' AND t.name <> '_sqlx_migrations'
ORDER BY t.name, c.cid
