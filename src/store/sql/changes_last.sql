SELECT epoch, number FROM changes_last WHERE id = 1
