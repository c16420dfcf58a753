UPDATE documents SET revision = $1, updated_at = $2 WHERE account = $3 AND kind = $4 AND id = $5
RETURNING created_at
