-- Text is compared byte by byte, as SQLite does, so that both backends list in the same order.
CREATE TABLE documents (
    account TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C",
    lookup TEXT COLLATE "C",
    parent TEXT COLLATE "C",
    position BIGINT NOT NULL,
    schema_version BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    -- Items of a list, values of a namespace; kept by the writes that add and remove them.
    children BIGINT NOT NULL DEFAULT 0,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (account, kind, id)
);
CREATE UNIQUE INDEX documents_name ON documents (account, kind, name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX documents_lookup ON documents (kind, lookup) WHERE lookup IS NOT NULL;
CREATE INDEX documents_parent ON documents (account, kind, parent) WHERE parent IS NOT NULL;

CREATE TABLE list_items (
    ordinal BIGSERIAL PRIMARY KEY,
    account TEXT COLLATE "C" NOT NULL,
    list TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account, list, value)
);
CREATE INDEX list_items_order ON list_items (account, list, ordinal);

CREATE TABLE kv_values (
    account TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value BYTEA NOT NULL,
    metadata TEXT,
    expires_at BIGINT,
    PRIMARY KEY (account, namespace, key)
);
CREATE INDEX kv_values_expiry ON kv_values (account, expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE changes (
    seq BIGSERIAL PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    op TEXT NOT NULL,
    at BIGINT NOT NULL
);
