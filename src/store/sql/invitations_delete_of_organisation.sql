DELETE FROM invitations WHERE organisation_id = $1
