SELECT key, value, metadata, expires_at FROM kv_values
WHERE account = $1 AND namespace = $2 AND key = $3 AND (expires_at IS NULL OR expires_at > $4)
