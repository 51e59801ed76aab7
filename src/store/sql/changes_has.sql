-- Whether the log still has a change of an organisation, and so all later ones.
SELECT count(*) FROM changes WHERE organisation_id = $1 AND organisation_number = $2 AND token = $3
