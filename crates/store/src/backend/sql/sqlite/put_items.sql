INSERT INTO list_items (account, list, created_at, value, description)
SELECT $1, $2, $3, json_extract(item.value, '$[0]'), json_extract(item.value, '$[1]')
FROM json_each($4) AS item
WHERE true
ORDER BY item.key
ON CONFLICT (account, list, value) DO UPDATE SET description = excluded.description
