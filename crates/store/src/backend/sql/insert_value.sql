INSERT INTO kv_values (value, metadata, expires_at, account, namespace, key) VALUES ($1, $2, $3, $4, $5, $6)
