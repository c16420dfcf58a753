UPDATE documents
SET name = $1, lookup = $2, parent = $3, position = $4, schema_version = $5, revision = $6, body = $7, updated_at = $8
WHERE account = $9 AND kind = $10 AND id = $11
RETURNING created_at
