UPDATE organisations SET change_number = change_number + $1, change_token = $2 WHERE id = $3
