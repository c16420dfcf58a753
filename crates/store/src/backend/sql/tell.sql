INSERT INTO changes (account, kind, id, op, at) VALUES ($1, $2, $3, $4, $5)
