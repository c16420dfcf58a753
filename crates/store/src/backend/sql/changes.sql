SELECT seq, account, kind, id, op, at FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2
