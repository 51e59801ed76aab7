SELECT * FROM keys_in_context WHERE hash = $1
