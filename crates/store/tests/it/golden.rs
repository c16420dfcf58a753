//! Every stored shape of every version stays readable. A file is named `kind.version.json`; a new version adds a file and
//! leaves the old ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use store::{
    AccessGroup, AccessKeys, AccessPolicy, AccessProfile, AccessSession, Account, AcmeAccount, Administrator,
    AppSession, Application, Approval, CatalogEdition, CatalogReview, CategoryList, CategoryNames, Certificate,
    ClientAuthority, ClientCertificateSettings, Configuration, CustomPage, DirectoryGroup, DirectoryUser, Document,
    Factor, Kind, KvNamespace, List, ListenerCertificate, Logging, LoginState, Mail, MailServer, McpCatalog,
    McpCredential, McpPortal, McpServer, Network, OauthClient, OauthGrant, Organization, Provider, ProxyEndpoint,
    ProxyToken, PushJob, Retention, Revocation, Rule, SavedQuery, Schedule, Script, ScriptContent, ScriptSecret,
    ScriptVersion, ServiceToken, ServiceTokenUse, Session, SetupLink, Signal, SignalEvent, SignalState, Tag, Token,
    UsageDigest, User,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Reads the file as the type and writes it again: nothing may be lost.
fn check<D: Document>(seen: &mut BTreeSet<Kind>) {
    for version in 1..=D::SCHEMA_VERSION {
        let path = folder().join(format!("{}.{version}.json", D::KIND.as_str()));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let document: D = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if version == D::SCHEMA_VERSION {
            let written: Value = serde_json::from_str(&serde_json::to_string(&document).unwrap()).unwrap();
            assert_eq!(written, serde_json::from_str::<Value>(&text).unwrap(), "{}", path.display());
        }
    }
    seen.insert(D::KIND);
}

#[test]
fn every_kind_reads_its_golden_files() {
    let mut seen = BTreeSet::new();
    check::<Account>(&mut seen);
    check::<Rule>(&mut seen);
    check::<List>(&mut seen);
    check::<Configuration>(&mut seen);
    check::<Logging>(&mut seen);
    check::<Retention>(&mut seen);
    check::<UsageDigest>(&mut seen);
    check::<Network>(&mut seen);
    check::<Certificate>(&mut seen);
    check::<ProxyEndpoint>(&mut seen);
    check::<Script>(&mut seen);
    check::<ScriptVersion>(&mut seen);
    check::<ScriptContent>(&mut seen);
    check::<ScriptSecret>(&mut seen);
    check::<Schedule>(&mut seen);
    check::<KvNamespace>(&mut seen);
    check::<Token>(&mut seen);
    check::<User>(&mut seen);
    check::<ProxyToken>(&mut seen);
    check::<Administrator>(&mut seen);
    check::<Session>(&mut seen);
    check::<SetupLink>(&mut seen);
    check::<Application>(&mut seen);
    check::<AccessPolicy>(&mut seen);
    check::<AccessGroup>(&mut seen);
    check::<Provider>(&mut seen);
    check::<DirectoryUser>(&mut seen);
    check::<DirectoryGroup>(&mut seen);
    check::<Organization>(&mut seen);
    check::<ServiceToken>(&mut seen);
    check::<ServiceTokenUse>(&mut seen);
    check::<ClientAuthority>(&mut seen);
    check::<ClientCertificateSettings>(&mut seen);
    check::<Tag>(&mut seen);
    check::<CustomPage>(&mut seen);
    check::<AccessKeys>(&mut seen);
    check::<AccessProfile>(&mut seen);
    check::<Factor>(&mut seen);
    check::<AccessSession>(&mut seen);
    check::<AppSession>(&mut seen);
    check::<Revocation>(&mut seen);
    check::<LoginState>(&mut seen);
    check::<Mail>(&mut seen);
    check::<MailServer>(&mut seen);
    check::<PushJob>(&mut seen);
    check::<ListenerCertificate>(&mut seen);
    check::<AcmeAccount>(&mut seen);
    check::<Approval>(&mut seen);
    check::<OauthClient>(&mut seen);
    check::<OauthGrant>(&mut seen);
    check::<McpPortal>(&mut seen);
    check::<McpServer>(&mut seen);
    check::<McpCatalog>(&mut seen);
    check::<McpCredential>(&mut seen);
    check::<CatalogReview>(&mut seen);
    check::<CatalogEdition>(&mut seen);
    check::<CategoryList>(&mut seen);
    check::<CategoryNames>(&mut seen);
    check::<SavedQuery>(&mut seen);
    check::<Signal>(&mut seen);
    check::<SignalState>(&mut seen);
    check::<SignalEvent>(&mut seen);
    assert_eq!(seen, Kind::ALL.iter().copied().collect());
}

#[test]
fn a_field_of_a_later_version_is_ignored() {
    let text = r#"{"title":"n","colour":"blue"}"#;
    assert_eq!(serde_json::from_str::<KvNamespace>(text).unwrap().title, "n");
}
