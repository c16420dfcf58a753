UPDATE documents SET children = children + $1 WHERE account = $2 AND kind = $3 AND id = $4
RETURNING children
