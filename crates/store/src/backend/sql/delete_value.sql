DELETE FROM kv_values WHERE account = $1 AND namespace = $2 AND key = $3
