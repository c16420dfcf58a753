DELETE FROM documents WHERE account = $1 AND kind = $2 AND parent = $3 AND id NOT IN (
    SELECT id FROM documents WHERE account = $1 AND kind = $2 AND parent = $3
    ORDER BY created_at DESC, id DESC LIMIT $4
)
