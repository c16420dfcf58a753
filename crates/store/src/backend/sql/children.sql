SELECT id, children FROM documents WHERE account = $1 AND kind = $2
