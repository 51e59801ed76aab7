-- $1: the number of changes; $2: their token; $3: the organisation. Every transaction locks the organisation's row
-- first. The commit sends the notification.
WITH organisation AS (
  UPDATE organisations SET change_number = change_number + $1, change_token = $2 WHERE id = $3 RETURNING change_number
), taken AS (
  UPDATE changes_last SET number = number + $1, previous = token, token = $2
  FROM organisation
  WHERE id = 1
  RETURNING number, previous, change_number
)
SELECT number, previous, change_number, pg_notify('latchkey_' || hashtext(current_schema()), 'change') FROM taken
