DELETE FROM kv_values WHERE account = $1 AND expires_at IS NOT NULL AND expires_at <= $2 RETURNING namespace
