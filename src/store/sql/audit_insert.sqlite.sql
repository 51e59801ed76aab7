-- $1: JSON, one object for each entry.
-- Materialised, because `json_each` serializes a row again for each use of `value`.
WITH rows AS MATERIALIZED (SELECT value FROM json_each($1))
INSERT INTO audit_entries (id, organisation_id, at, actor_type, actor_id, actor_label, action, target_type, target_id,
                           target_label, address, user_agent, request_id, before, after)
SELECT value ->> 'id', value ->> 'organisation_id', value ->> 'at', value ->> 'actor_type', value ->> 'actor_id',
       value ->> 'actor_label', value ->> 'action', value ->> 'target_type', value ->> 'target_id',
       value ->> 'target_label', value ->> 'address', value ->> 'user_agent', value ->> 'request_id',
       value ->> 'before', value ->> 'after'
FROM rows
