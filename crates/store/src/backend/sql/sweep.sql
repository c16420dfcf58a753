DELETE FROM documents WHERE account = $1 AND kind = $2 AND position <= $3
