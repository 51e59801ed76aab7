SELECT * FROM keys_in_context
WHERE created_by = $1 AND uuid < $2
  AND (SELECT count(*) FROM memberships m WHERE m.user_id = $1 AND m.organisation_id = $7) > 0
  AND (CAST($4 AS TEXT) IS NULL
       OR ($4 = 'revoked' AND revoked_at IS NOT NULL)
       OR ($4 = 'disabled' AND revoked_at IS NULL AND disabled_at IS NOT NULL)
       OR ($4 = 'expired' AND revoked_at IS NULL AND disabled_at IS NULL AND expires_at <= $5)
       OR ($4 = 'active' AND revoked_at IS NULL AND disabled_at IS NULL
           AND (expires_at IS NULL OR expires_at > $5)))
  AND (CAST($6 AS TEXT) IS NULL OR lower(name) LIKE $6 ESCAPE '\')
  AND organisation_id = $7
ORDER BY uuid DESC
LIMIT $3
