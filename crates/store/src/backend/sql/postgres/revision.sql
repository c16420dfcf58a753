-- Locks the row: of two writers of one revision the second must see what the first left.
SELECT revision FROM documents WHERE account = $1 AND kind = $2 AND id = $3 FOR UPDATE
