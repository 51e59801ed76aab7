-- $1: JSON, one object for each entry.
INSERT INTO audit_entries (id, organisation_id, at, actor_type, actor_id, actor_label, action, target_type, target_id,
                           target_label, address, user_agent, request_id, before, after)
SELECT id, organisation_id, at, actor_type, actor_id, actor_label, action, target_type, target_id, target_label,
       address, user_agent, request_id, before, after
FROM jsonb_to_recordset(CAST($1 AS jsonb))
       AS e (id BIGINT, organisation_id BIGINT, at BIGINT, actor_type TEXT, actor_id TEXT, actor_label TEXT, action
             TEXT, target_type TEXT, target_id TEXT, target_label TEXT, address TEXT, user_agent TEXT, request_id
             TEXT, before TEXT, after TEXT)
