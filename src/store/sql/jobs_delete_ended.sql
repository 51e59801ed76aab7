DELETE FROM jobs
WHERE id IN (SELECT id FROM jobs WHERE outcome = $1 AND ended_at <= $2 ORDER BY ended_at LIMIT $3)
