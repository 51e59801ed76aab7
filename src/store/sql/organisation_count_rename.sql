UPDATE organisations SET rename_count = rename_count + 1 WHERE id = $1
