SELECT * FROM keys_in_context
WHERE created_by = $1 AND (created_at, id) < ($2, $3)
  AND (SELECT count(*) FROM memberships m WHERE m.user_id = $1 AND m.organisation_id = $8) > 0
  AND (CAST($5 AS TEXT) IS NULL
       OR ($5 = 'revoked' AND revoked_at IS NOT NULL)
       OR ($5 = 'disabled' AND revoked_at IS NULL AND disabled_at IS NOT NULL)
       OR ($5 = 'expired' AND revoked_at IS NULL AND disabled_at IS NULL AND expires_at <= $6)
       OR ($5 = 'active' AND revoked_at IS NULL AND disabled_at IS NULL
           AND (expires_at IS NULL OR expires_at > $6)))
  AND (CAST($7 AS TEXT) IS NULL OR lower(name) LIKE $7 ESCAPE '\')
  AND organisation_id = $8
ORDER BY created_at DESC, id DESC
LIMIT $4
