-- Every column of every table but SQLite's own, and sqlx's record of which migrations were made.
SELECT t.name AS table_name, c.name AS column_name
FROM sqlite_schema t, pragma_table_info(t.name) c
WHERE t.type = 'table' AND t.name NOT GLOB 'sqlite_*' AND t.name <> '_sqlx_migrations'
ORDER BY t.name, c.cid
