DELETE FROM token_families WHERE NOT EXISTS (SELECT 1 FROM tokens WHERE tokens.family_id = token_families.id)
