-- The notification goes out with the commit.
WITH taken AS (UPDATE changes_last SET number = number + $1 WHERE id = 1 RETURNING number)
SELECT number, pg_notify('latchkey_' || hashtext(current_schema()), 'change') FROM taken
