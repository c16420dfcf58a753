INSERT INTO list_items (account, list, created_at, value, description)
SELECT $1::text, $2::text, $3::bigint, item.pair ->> 0, item.pair ->> 1
FROM json_array_elements($4::text::json) WITH ORDINALITY AS item (pair, place)
ORDER BY item.place
ON CONFLICT (account, list, value) DO UPDATE SET description = excluded.description
