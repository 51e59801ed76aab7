SELECT count(*) FROM first_account
