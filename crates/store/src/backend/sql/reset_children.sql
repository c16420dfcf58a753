UPDATE documents SET children = 0 WHERE account = $1 AND kind = $2 AND id = $3
