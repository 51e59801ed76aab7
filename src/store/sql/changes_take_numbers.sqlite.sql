-- $1: the number of changes; $2: their token; $3: the organisation. `changes_take_organisation_numbers` runs before
-- this.
UPDATE changes_last SET number = number + $1, previous = token, token = $2
WHERE id = 1
RETURNING number, previous, (SELECT change_number FROM organisations WHERE organisations.id = $3) AS change_number
