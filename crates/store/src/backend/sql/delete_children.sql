DELETE FROM documents WHERE account = $1 AND kind = $2 AND parent = $3
