//! The edition that ships: what it promises, and that the index agrees with reading the file line by line.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use catalog::{Catalog, Role, Row};
use proptest::prelude::*;

fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    let catalog = Catalog::embedded();
    ROWS.get_or_init(|| catalog.applications().iter().map(|application| catalog.row(application)).collect())
}

#[test]
fn the_edition_holds_what_it_promises() {
    let catalog = Catalog::embedded();
    let statistics = catalog.statistics();
    assert!(statistics.applications >= 1_500, "{statistics:#?}");
    assert!(statistics.ai >= 250, "{statistics:#?}");
    assert!(statistics.ai_kinds.iter().all(|(_, count)| *count >= 25), "{statistics:#?}");
    assert_eq!(statistics.conflicts, 0);
    // The whole index is far smaller than the idle process.
    assert!(statistics.index_bytes < 1 << 20, "{statistics:#?}");
}

#[test]
fn no_host_belongs_to_two_applications() {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for row in rows() {
        for host in row.hosts.iter().chain(&row.support) {
            // `*.x` and `x` of two applications would leave one of them without its subdomains.
            let name = host.strip_prefix("*.").unwrap_or(host);
            if let Some(other) = owners.insert(name.to_owned(), row.slug.clone()) {
                panic!("{host} belongs to {other} and to {}", row.slug);
            }
        }
    }
    assert!(owners.len() > 4_000);
}

#[test]
fn shared_hosting_belongs_to_nobody() {
    let shared = include_str!("../../data/shared-hosting.txt");
    let catalog = Catalog::embedded();
    for host in shared.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace) {
        assert!(catalog.by_host(&format!("tenant-of-{}.{host}", host.len())).is_none(), "{host}");
    }
}

#[test]
fn every_application_is_complete() {
    const KNOWN: [(&str, u32); 4] = [("chatgpt", 1199), ("gemini", 1340), ("perplexity", 1937), ("claude", 2430)];
    let sources = ["2factorauth", "v2fly", "shadowai-domains", "sso.tax", "diodb", "portunus"];
    for row in rows() {
        assert!(!row.sources.is_empty(), "{}", row.slug);
        assert!(row.sources.iter().all(|source| sources.contains(&source.as_str())), "{}: {:?}", row.slug, row.sources);
        assert!(row.kind != 25 || !row.ai.is_empty(), "{} does not say what it does", row.slug);
        // Numbers below ours are Gateway's.
        let published = KNOWN.iter().any(|(slug, id)| *slug == row.slug && *id == row.id);
        assert_eq!(row.id < 10_000, published, "{} {}", row.slug, row.id);
    }
}

#[test]
fn hosts_that_everybody_knows_are_found() {
    let catalog = Catalog::embedded();
    for (host, slug) in [
        ("chatgpt.com", "chatgpt"),
        ("cdn.oaistatic.com", "chatgpt"),
        ("api.openai.com", "openai-api"),
        ("claude.ai", "claude"),
        ("api.anthropic.com", "anthropic-api"),
        ("gemini.google.com", "gemini"),
        ("www.google.com", "google-search"),
        ("mail.google.com", "gmail"),
        ("accounts.google.com", "google-account"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "amazon-bedrock"),
        ("us-central1-aiplatform.googleapis.com", "vertex-ai"),
        ("my-company.openai.azure.com", "azure-openai"),
        ("acme.slack.com", "slack"),
        ("acme-my.sharepoint.com", "sharepoint"),
        ("teams.microsoft.com", "microsoft-teams"),
        ("www.microsoft.com", "microsoft"),
        ("github.com", "github"),
        ("api.githubcopilot.com", "github-copilot"),
    ] {
        assert_eq!(catalog.by_host(host).map(|application| &*application.slug), Some(slug), "{host}");
    }
    for host in ["clients4.google.com", "bucket.s3.amazonaws.com", "www.example.com", "chatgpt.com.evil.test", "com"] {
        assert_eq!(catalog.by_host(host).map(|application| &*application.slug), None, "{host}");
    }
}

/// What a host belongs to, found the slow way: every pattern of every row, the longest wins.
fn slowly(rows: &[Row], host: &str) -> Option<(u32, Role)> {
    let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    let mut best: (usize, Option<(u32, Role)>) = (0, None);
    for row in rows {
        let own = row.hosts.iter().map(|host| (host, Role::Own));
        for (pattern, role) in own.chain(row.support.iter().map(|host| (host, Role::Support))) {
            let length = match pattern.strip_prefix("*.") {
                Some(name) if !name.contains('*') => below(name).then_some(name.len()),
                _ if pattern.contains('*') => covered(pattern, host),
                _ => (host == pattern || below(pattern)).then_some(pattern.len()),
            };
            if let Some(length) = length.filter(|length| *length > best.0) {
                best = (length, Some((row.id, role)));
            }
        }
        for name in &row.exclude {
            if (host == name || below(name)) && name.len() > best.0 {
                best = (name.len(), None);
            }
        }
    }
    best.1
}

fn covered(pattern: &str, host: &str) -> Option<usize> {
    let (wanted, labels): (Vec<&str>, Vec<&str>) = (pattern.rsplit('.').collect(), host.rsplit('.').collect());
    let mut length = 0;
    for (index, wanted) in wanted.iter().enumerate() {
        let label = labels.get(index)?;
        let fits = match wanted.split_once('*') {
            None => label == wanted,
            Some((before, after)) => {
                label.len() > before.len() + after.len() && label.starts_with(before) && label.ends_with(after)
            }
        };
        if !fits {
            return None;
        }
        length += label.len() + usize::from(index > 0);
    }
    Some(length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_the_file(pick in 0usize..4_000_000, prefix in "(|a\\.|x-y\\.z\\.|-|q|bedrock\\.|eu-)", cut in 0usize..4) {
        let rows = rows();
        let row = &rows[pick % rows.len()];
        let all: Vec<&String> = row.hosts.iter().chain(&row.exclude).chain(&row.support).collect();
        let host = all[pick % all.len()].replace('*', "eu-1");
        // Now and then the start of the name is missing, as with a parent or a neighbour.
        let host = format!("{prefix}{}", host.get(cut.saturating_sub(2) * 2..).unwrap_or(&host));
        let catalog = Catalog::embedded();
        let found = catalog.find(&host).map(|found| (found.application.id, found.role));
        prop_assert_eq!(found, slowly(rows, &host), "{}", host);
    }

    #[test]
    fn any_text_is_looked_up(host in ".{0,300}") {
        let catalog = Catalog::embedded();
        let _ = catalog.find(&host);
        let _ = catalog::catalog::normalise(&host);
    }
}
