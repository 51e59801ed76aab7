-- Of two organisations that a person creates at once, the second sees the first.
SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE
