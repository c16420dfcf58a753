SELECT key, metadata, expires_at FROM kv_values
WHERE account = $1 AND namespace = $2 AND key >= $3 AND key > $4 AND (expires_at IS NULL OR expires_at > $5)
ORDER BY key LIMIT $6
