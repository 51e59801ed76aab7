SELECT * FROM keys_in_context WHERE id = $1
