UPDATE changes_last SET number = number + $1 WHERE id = 1 RETURNING number
