SELECT count(*) FROM list_items
WHERE account = $1 AND list = $2
    AND value IN (SELECT (item ->> 0) COLLATE "C" FROM json_array_elements($3::text::json) AS item)
