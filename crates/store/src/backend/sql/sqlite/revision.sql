SELECT revision FROM documents WHERE account = $1 AND kind = $2 AND id = $3
