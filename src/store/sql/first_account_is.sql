UPDATE first_account SET user_id = $1 WHERE user_id IS NULL
