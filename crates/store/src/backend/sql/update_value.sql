UPDATE kv_values SET value = $1, metadata = $2, expires_at = $3
WHERE account = $4 AND namespace = $5 AND key = $6
