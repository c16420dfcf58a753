//! What every backend promises about MCP: servers with what hangs on them, sealed sign-ins, catalogues.

use std::collections::BTreeMap;

use serde_json::json;
use store::{
    McpCatalog, McpCredential, McpCredentialId, McpHolder, McpPortal, McpServer, Operate, ReadAccess, ReadUsers,
    StoreError, User, WriteAccess, WriteUsers,
};
use types::{Code, McpPortalId, McpServerId, Secret, UserId};
use uuid::Uuid;

use crate::fixture::{Fixture, grant, run, store_suite};

store_suite! {
    no_two_portals_have_one_host,
    a_servers_secret_opens_in_its_place_for_the_system_only,
    a_server_goes_with_what_it_offers_and_every_sign_in,
    a_sign_in_is_kept_over_what_was_read,
    a_person_who_goes_is_signed_in_nowhere,
    a_catalogue_is_kept_over_what_was_read,
}

fn server_id(text: &str) -> McpServerId {
    text.parse().unwrap()
}

fn server() -> McpServer {
    McpServer {
        body: json!({"name": "Jira"}),
        secrets: BTreeMap::new(),
        client_secret_version: 0,
        created_by: String::new(),
        modified_by: String::new(),
    }
}

fn person(number: u128) -> McpHolder {
    McpHolder::Person(UserId(Uuid::from_u128(number)))
}

fn sign_in(holder: McpHolder, server: &str) -> McpCredentialId {
    McpCredentialId { holder, server: server_id(server) }
}

async fn keep(f: &Fixture, id: &McpCredentialId) -> store::Revision {
    let (credentials, write) = (f.store.mcp_credentials(), grant::<WriteUsers>());
    let tokens = credentials.seal_member(&write, id, "tokens", &Secret::new("hush".to_owned())).unwrap();
    let credential =
        McpCredential { server: id.server.clone(), expires_at: None, lapsed: false, state: json!({}), tokens };
    credentials.keep(&write, id.clone(), credential, None).await.unwrap()
}

async fn no_two_portals_have_one_host(f: &Fixture) {
    let (portals, write) = (f.store.mcp_portals(), grant::<WriteAccess>());
    let portal = |hostname: &str| McpPortal {
        hostname: hostname.to_owned(),
        body: json!({}),
        created_by: String::new(),
        modified_by: String::new(),
    };
    let id = |text: &str| text.parse::<McpPortalId>().unwrap();
    portals.create(&write, id("a"), portal("mcp.example.com")).await.unwrap();
    assert_eq!(portals.create(&write, id("b"), portal("mcp.example.com")).await.unwrap_err().code(), Code::Conflict);
    portals.create(&write, id("b"), portal("tools.example.com")).await.unwrap();
    assert_eq!(portals.create(&write, id("a"), portal("x.example.com")).await.unwrap_err().code(), Code::Conflict);
}

async fn a_servers_secret_opens_in_its_place_for_the_system_only(f: &Fixture) {
    let (servers, write, operate) = (f.store.mcp_servers(), grant::<WriteAccess>(), grant::<Operate>());
    let sealed = servers.seal_member(&write, &server_id("a"), "headers", &Secret::new("hush".to_owned())).unwrap();
    let with = |name: &str| McpServer { secrets: BTreeMap::from([(name.to_owned(), sealed.clone())]), ..server() };
    let mut stored = servers.create(&write, server_id("a"), with("headers")).await.unwrap();
    assert!(!serde_json::to_string(&stored.document).unwrap().contains("hush"));
    assert_eq!(servers.open_members(&operate, &mut stored).unwrap()["headers"].expose(), "hush");
    let mut moved = servers.create(&write, server_id("b"), with("headers")).await.unwrap();
    assert!(matches!(servers.open_members(&operate, &mut moved), Err(StoreError::Seal(_))));
    let mut renamed = servers.replace(&write, server_id("a"), with("client_secret"), None).await.unwrap();
    assert!(matches!(servers.open_members(&operate, &mut renamed), Err(StoreError::Seal(_))));
}

async fn a_server_goes_with_what_it_offers_and_every_sign_in(f: &Fixture) {
    let (servers, write, operate) = (f.store.mcp_servers(), grant::<WriteAccess>(), grant::<Operate>());
    for name in ["a", "b"] {
        servers.create(&write, server_id(name), server()).await.unwrap();
        f.store.mcp_catalogs().keep(&operate, server_id(name), McpCatalog::default(), None).await.unwrap();
        for holder in [McpHolder::Everybody, person(1)] {
            keep(f, &sign_in(holder, name)).await;
        }
    }
    servers.delete_with_sign_ins(&write, &server_id("a"), None).await.unwrap();
    let catalogs = f.store.mcp_catalogs().list(&grant::<ReadAccess>()).await.unwrap();
    assert_eq!(catalogs.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["b"]);
    let left = f.store.mcp_credentials().list(&grant::<ReadUsers>()).await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|found| found.id.server == server_id("b")));
    let gone = servers.delete_with_sign_ins(&write, &server_id("a"), None).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

async fn a_sign_in_is_kept_over_what_was_read(f: &Fixture) {
    let (credentials, write, operate) = (f.store.mcp_credentials(), grant::<WriteUsers>(), grant::<Operate>());
    let id = sign_in(person(1), "a");
    let first = keep(f, &id).await;
    let mut stored = credentials.get(&operate, &id).await.unwrap().unwrap();
    assert_eq!(credentials.open_members(&operate, &mut stored).unwrap()["tokens"].expose(), "hush");
    let lapsed = McpCredential { lapsed: true, ..stored.document.clone() };
    let again = credentials.keep(&write, id.clone(), lapsed.clone(), None).await.unwrap_err();
    assert_eq!(again.code(), Code::Conflict);
    credentials.keep(&write, id.clone(), lapsed.clone(), Some(first)).await.unwrap();
    let late = credentials.keep(&write, id.clone(), lapsed.clone(), Some(first)).await.unwrap_err();
    assert_eq!(late.code(), Code::Stale);
    let elsewhere = credentials.keep(&write, sign_in(person(1), "b"), lapsed, None).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::InvalidInput);
    for id in [sign_in(McpHolder::Everybody, "a"), id] {
        assert_eq!(id.to_string().parse::<McpCredentialId>().unwrap(), id);
    }
    for bad in ["", "a", "nobody/a", "everybody/a_b", "everybody/"] {
        assert!(bad.parse::<McpCredentialId>().is_err(), "{bad}");
    }
}

async fn a_person_who_goes_is_signed_in_nowhere(f: &Fixture) {
    let (servers, credentials, operate) = (f.store.mcp_servers(), f.store.mcp_credentials(), grant::<Operate>());
    credentials.forget_person(&operate, UserId(Uuid::from_u128(1))).await.unwrap();
    let user =
        User { email: "ann@example.com".parse().unwrap(), name: String::new(), groups: Vec::new(), disabled: false };
    f.store.users().create(&grant(), UserId(Uuid::from_u128(1)), user).await.unwrap();
    for name in ["a", "b"] {
        servers.create(&grant(), server_id(name), server()).await.unwrap();
        for holder in [McpHolder::Everybody, person(1), person(2)] {
            keep(f, &sign_in(holder, name)).await;
        }
    }
    f.store.users().delete_with_tokens(&grant(), UserId(Uuid::from_u128(1))).await.unwrap();
    credentials.forget_person(&operate, UserId(Uuid::from_u128(2))).await.unwrap();
    let left = credentials.list(&grant::<ReadUsers>()).await.unwrap();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|found| found.id.holder == McpHolder::Everybody));
}

async fn a_catalogue_is_kept_over_what_was_read(f: &Fixture) {
    let (catalogs, operate) = (f.store.mcp_catalogs(), grant::<Operate>());
    let catalog = McpCatalog { tools: vec![(&json!({"name": "a"})).into()], ..McpCatalog::default() };
    let first = catalogs.keep(&operate, server_id("a"), catalog.clone(), None).await.unwrap();
    let taken = catalogs.keep(&operate, server_id("a"), catalog.clone(), None).await.unwrap_err();
    assert_eq!(taken.code(), Code::Conflict);
    catalogs.keep(&operate, server_id("a"), McpCatalog::default(), Some(first)).await.unwrap();
    let late = catalogs.keep(&operate, server_id("a"), catalog, Some(first)).await.unwrap_err();
    assert_eq!(late.code(), Code::Stale);
    assert_eq!(catalogs.list(&grant::<ReadAccess>()).await.unwrap().len(), 1);
}
