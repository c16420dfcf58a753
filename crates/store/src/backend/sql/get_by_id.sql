SELECT account, id, schema_version, revision, body, created_at, updated_at FROM documents WHERE account = $1 AND kind = $2 AND id = $3
