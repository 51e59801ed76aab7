-- $1: JSON, the kinds. Reads one entry of the index for each kind.
SELECT kinds.value AS kind,
       (SELECT min(jobs.due_at) FROM jobs WHERE jobs.kind = kinds.value AND jobs.ended_at IS NULL) AS due_at
FROM json_each($1) AS kinds
