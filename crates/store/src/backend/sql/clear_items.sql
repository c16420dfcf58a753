DELETE FROM list_items WHERE account = $1 AND list = $2
