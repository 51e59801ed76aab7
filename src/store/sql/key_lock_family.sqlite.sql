-- Nothing to do: whoever writes is alone.
SELECT id FROM keys WHERE id = $1
