INSERT INTO changes (account, kind, id, op, at, revision) VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq
