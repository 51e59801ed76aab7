-- Whether an organisation's change is still there, and with it all that came after.
SELECT count(*) FROM changes WHERE organisation_id = $1 AND organisation_number = $2 AND token = $3
