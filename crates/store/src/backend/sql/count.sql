SELECT count(*) FROM documents WHERE account = $1 AND kind = $2
