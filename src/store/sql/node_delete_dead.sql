-- Unless it has come back to life.
DELETE FROM nodes WHERE id = $1 AND renewals = $2
