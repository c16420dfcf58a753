DELETE FROM list_items
WHERE account = $1 AND list = $2 AND value IN (SELECT item.value FROM json_each($3) AS item)
