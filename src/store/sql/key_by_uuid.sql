SELECT * FROM keys_in_context WHERE uuid = $1
