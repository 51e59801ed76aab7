UPDATE nodes SET renewals = renewals + 1, heard = $2, redis = $3 WHERE id = $1
