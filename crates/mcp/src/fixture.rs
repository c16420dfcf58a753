//! What the tests of this crate share: the definitions of four real servers. Its invariant: they are those in tests/data.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog::{Catalog, Kind};
use crate::names::ServerId;

pub(crate) const SERVERS: [&str; 4] = ["everything", "filesystem", "memory", "playwright"];

pub(crate) fn real(server: &str) -> Arc<Catalog> {
    #[derive(Deserialize)]
    struct File {
        tools: Vec<Box<RawValue>>,
    }
    let text = match server {
        "everything" => include_str!("../tests/data/everything.json"),
        "filesystem" => include_str!("../tests/data/filesystem.json"),
        "memory" => include_str!("../tests/data/memory.json"),
        _ => include_str!("../tests/data/playwright.json"),
    };
    let file: File = serde_json::from_str(text).unwrap();
    let mut catalog = Catalog::default();
    catalog.extend(Kind::Tool, file.tools.iter().map(|tool| &**tool));
    Arc::new(catalog)
}

pub(crate) fn id(text: &str) -> ServerId {
    ServerId::parse(text).unwrap()
}
