UPDATE documents SET schema_version = $1, revision = $2, body = $3, updated_at = $4
WHERE account = $5 AND kind = $6 AND id = $7 AND revision = $8
