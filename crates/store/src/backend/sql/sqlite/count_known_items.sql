SELECT count(*) FROM list_items
WHERE account = $1 AND list = $2 AND value IN (SELECT json_extract(item.value, '$[0]') FROM json_each($3) AS item)
