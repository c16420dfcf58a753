SELECT account, id, schema_version, revision, body, created_at, updated_at FROM documents WHERE kind = $1 AND lookup = $2
