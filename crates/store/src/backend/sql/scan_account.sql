SELECT account, id, schema_version, revision, body, created_at, updated_at FROM documents WHERE account = $1 AND kind = $2
ORDER BY position, created_at, id LIMIT $3
