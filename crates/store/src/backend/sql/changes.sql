SELECT seq, account, kind, id, op, at, revision FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2
