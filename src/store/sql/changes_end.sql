SELECT epoch, history, number, token FROM changes_last WHERE id = 1
