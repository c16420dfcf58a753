//! How the gateway reaches origins: names only it resolves, addresses its guard lets through, roots it trusts beside
//! the public ones, and the hosts it never inspects.
//!
//! Texts as their author wrote them; the API checks them and the gateway compiles them. Invariant: an absent member
//! means the product's default, so a default that improves reaches everyone who did not choose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::document;
use crate::document::Only;

/// The body of `/portunus/network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Host name to address, `name` or `name:port` to `address` or `address:port`; answers before any resolver.
    #[serde(default)]
    pub hosts: BTreeMap<String, String>,
    /// Addresses the guard lets through although it refuses them by default: `127.0.0.1:8443`, `10.0.0.0/8`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Certificates trusted as roots towards origins, PEM.
    #[serde(default)]
    pub roots: Vec<String>,
    /// The do-not-inspect list; absent means the list that ships with the product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<Vec<BypassHost>>,
}

document!(Network, Network, id Only, ReadGateway / WriteGateway {});

/// One entry of the do-not-inspect list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BypassHost {
    /// `host.example`, or `*.host.example` for the name and everything below it.
    pub pattern: String,
    /// Why, for whoever reads the list.
    #[serde(default)]
    pub reason: String,
}
