INSERT INTO first_account (only_one) VALUES (1) ON CONFLICT (only_one) DO NOTHING
