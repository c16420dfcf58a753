INSERT INTO documents
    (account, kind, id, name, lookup, parent, position, schema_version, revision, body, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING created_at
