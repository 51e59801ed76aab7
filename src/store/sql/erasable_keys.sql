-- Keys that no other key was made by: the others follow when these are gone.
SELECT k.id FROM keys k
WHERE k.organisation_id = $1 AND k.revoked_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM keys c WHERE c.parent_id = k.id)
LIMIT $2
