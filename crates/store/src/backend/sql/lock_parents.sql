UPDATE documents SET children = children WHERE account = $1 AND kind = $2
