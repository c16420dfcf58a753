CREATE TABLE documents (
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    lookup TEXT,
    parent TEXT,
    position INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- Items of a list, values of a namespace; kept by the writes that add and remove them.
    children INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (account, kind, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX documents_name ON documents (account, kind, name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX documents_lookup ON documents (kind, lookup) WHERE lookup IS NOT NULL;
CREATE INDEX documents_parent ON documents (account, kind, parent) WHERE parent IS NOT NULL;

CREATE TABLE list_items (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    list TEXT NOT NULL,
    value TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (account, list, value)
) STRICT;
CREATE INDEX list_items_order ON list_items (account, list, ordinal);

CREATE TABLE kv_values (
    account TEXT NOT NULL,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    metadata TEXT,
    expires_at INTEGER,
    PRIMARY KEY (account, namespace, key)
) STRICT;
CREATE INDEX kv_values_expiry ON kv_values (account, expires_at) WHERE expires_at IS NOT NULL;

-- AUTOINCREMENT: a number is never given out twice, even after the newest rows are deleted.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    op TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
