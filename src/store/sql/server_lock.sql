-- Of this schema: several may share a database.
SELECT pg_try_advisory_lock(1818325096, hashtext(current_schema()))
