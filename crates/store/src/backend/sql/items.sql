SELECT value, description, created_at, ordinal FROM list_items
WHERE account = $1 AND list = $2 AND ordinal > $3 ORDER BY ordinal LIMIT $4
