SELECT account, id, schema_version, revision, body, created_at, updated_at FROM documents WHERE kind = $1
ORDER BY position, created_at, id LIMIT $2
