-- Keeps a node that has renewed its lease since.
DELETE FROM nodes WHERE id = $1 AND renewals = $2
