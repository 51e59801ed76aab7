-- In the order of their ids, as everybody locks keys: two transactions must not wait for each other.
SELECT id, hash FROM keys WHERE id = $1 OR parent_id = $1 ORDER BY id FOR UPDATE
