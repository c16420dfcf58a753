DELETE FROM list_items
WHERE account = $1 AND list = $2
    AND value IN (SELECT item COLLATE "C" FROM json_array_elements_text($3::text::json) AS item)
