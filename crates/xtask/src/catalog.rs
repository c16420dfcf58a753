//! Makes the catalogue's data file: rows from published lists, curated, with our own additions on top.
//!
//! Repeatable: the same inputs give the same file, and an application that was in the file before keeps its number.
//! Without the published rows it starts from the file as it is, so that a change of the additions needs nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use ::catalog::format::{self, Disclosure, Header, SsoPrice};
use ::catalog::taxonomy;
use ::catalog::{AiKind, Facts, Row};
use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Where the data files are.
const DATA: &str = "crates/catalog/data";
/// Numbers below this are Gateway's own.
const FIRST_ID: u32 = 10_000;
/// The name of the additions as a source.
const OURS: &str = "portunus";
/// Most domains a row from elsewhere keeps; lists hold every name a brand ever registered.
const MOST_DOMAINS: usize = 30;

/// A row of the published lists, as `app-catalog.jsonl` merges them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Published {
    id: String,
    name: String,
    domains: Vec<String>,
    categories: Vec<String>,
    mfa: Vec<String>,
    mfa_docs: serde_json::Value,
    regions: Vec<String>,
    country: Option<String>,
    sso: Option<PublishedSso>,
    vuln_disclosure: Option<PublishedDisclosure>,
    ai: bool,
    sources: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PublishedSso {
    base: Option<String>,
    with_sso: Option<String>,
    increase: Option<String>,
    seen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PublishedDisclosure {
    policy: Option<String>,
    bounty: Option<String>,
    safe_harbor: Option<String>,
}

/// One line of the additions.
struct Addition {
    row: Row,
    /// Rows from elsewhere that it takes in.
    was: Vec<String>,
}

/// Writes the data file.
pub(crate) fn make(raw: Option<&Path>, version: &str) -> Result<()> {
    let data: PathBuf = crate::run::root().join(DATA);
    let read = |name: &str| std::fs::read_to_string(data.join(name)).with_context(|| format!("cannot read {name}"));
    let additions = additions(&read("additions.txt")?)?;
    let shared: HashSet<String> = words(&read("shared-hosting.txt")?).map(str::to_owned).collect();
    let before = match std::fs::read_to_string(data.join("applications.jsonl")) {
        Ok(text) => Some(previous(&text)?),
        Err(_) => None,
    };
    let elsewhere = match (raw, &before) {
        (Some(path), _) => published(path, &shared)?,
        (None, Some((_, rows))) => {
            rows.iter().filter(|row| !is_ours(row)).map(|row| (row.slug.clone(), row.clone())).collect()
        }
        (None, None) => bail!("there is no data file to start from; name the published rows with --raw"),
    };
    let rows = merge(elsewhere, additions, before.as_ref().map_or(&[][..], |(_, rows)| rows));
    let (rows, next_id) = number(rows, before.as_ref())?;
    let text = format::write(&Header { format: format::FORMAT, version: version.to_owned(), next_id }, &rows)?;
    let made = ::catalog::Catalog::parse(text.clone()).context("the new data file is not valid")?;
    if let Some((_, before)) = &before {
        println!("{}", ::catalog::difference::between(before, &rows));
    }
    std::fs::write(data.join("applications.jsonl"), text)?;
    println!("{:#?}", made.statistics());
    Ok(())
}

fn is_ours(row: &Row) -> bool {
    row.sources.iter().any(|source| source == OURS)
}

fn previous(text: &str) -> Result<(Header, Vec<Row>)> {
    let mut rows = Vec::new();
    let header = format::read(text, |row, _, _| {
        rows.push(row);
        Ok(())
    })?;
    Ok((header, rows))
}

/// The words of a file, without comments.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
}

fn additions(text: &str) -> Result<Vec<Addition>> {
    let (mut all, mut kind) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            let id = section.split_whitespace().next().unwrap_or_default();
            kind = Some(id.parse().with_context(|| format!("additions, line {number}: no type {id:?}"))?);
            continue;
        }
        let kind = kind.with_context(|| format!("additions, line {number}: it stands in no section"))?;
        all.push(addition(line, kind).with_context(|| format!("additions, line {number}"))?);
    }
    Ok(all)
}

fn addition(line: &str, kind: u32) -> Result<Addition> {
    let mut fields = line.split('|').map(str::trim);
    let mut next = || fields.next().unwrap_or_default();
    let (slug, name, vendor, country, ai, hosts, support, options) =
        (next(), next(), next(), next(), next(), next(), next(), next());
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut row = Row {
        slug: slug.to_owned(),
        name: name.to_owned(),
        vendor: some(vendor),
        country: some(country),
        kind,
        category: taxonomy::category_of_type(kind),
        sources: vec![OURS.to_owned()],
        ..Row::default()
    };
    for word in ai.split_whitespace() {
        row.ai.push(AiKind::named(word).with_context(|| format!("no kind of AI is called {word:?}"))?);
    }
    row.ai.sort_unstable();
    for host in hosts.split_whitespace() {
        match host.strip_prefix('-') {
            Some(excluded) => row.exclude.push(excluded.to_owned()),
            None => row.hosts.push(host.to_owned()),
        }
    }
    row.support = support.split_whitespace().map(str::to_owned).collect();
    let mut was = Vec::new();
    for option in options.split_whitespace() {
        match option.split_once('=') {
            None if option == "embedded" => row.embedded = true,
            Some(("id", id)) => row.id = id.parse()?,
            Some(("category", id)) => row.category = id.parse()?,
            Some(("was", ids)) => was = ids.split(',').map(str::to_owned).collect(),
            _ => bail!("no option is called {option:?}"),
        }
    }
    Ok(Addition { row, was })
}

/// Reads the published rows and keeps those that are known well enough, by the domain that named them.
fn published(path: &Path, shared: &HashSet<String>) -> Result<BTreeMap<String, Row>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    // Products that stand in several rows, one for each region, become one.
    let mut by_name: HashMap<String, String> = HashMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let published: Published = serde_json::from_str(line)?;
        let id = published.id.clone();
        let Some(row) = curated(published, shared) else { continue };
        let name = row.name.to_lowercase();
        match by_name.get(&name).and_then(|first| rows.get_mut(first)) {
            Some(first) => {
                first.hosts.extend(row.hosts);
                first.sources.extend(row.sources);
                // The countries of two regional branches are not the vendor's.
                if first.country != row.country {
                    first.country = None;
                }
                fill(&mut first.facts, row.facts);
            }
            None => {
                by_name.insert(name, id.clone());
                rows.insert(id, row);
            }
        }
    }
    Ok(rows)
}

/// Turns a published row into one of ours; artificial intelligence without a description is left to the additions.
fn curated(published: Published, shared: &HashSet<String>) -> Option<Row> {
    let name = published.name.split(" [").next().unwrap_or_default().trim().to_owned();
    let main = published.domains.first()?.clone();
    let described = !published.categories.is_empty() || published.sso.is_some() || published.vuln_disclosure.is_some();
    // Rows that additions take in are kept whole for what is known about them; the others must be described.
    if name.is_empty() || (!described && !published.ai) {
        return None;
    }
    let label = brand(&main)?;
    let mut hosts: BTreeSet<String> =
        published.domains.iter().filter(|domain| belongs(domain, label)).cloned().collect();
    hosts.retain(|host| format::check_name(host).is_ok() && !is_shared(host, shared));
    let (kind, category) = published.categories.iter().find_map(|word| kind_of(word)).unwrap_or((1000, 3));
    let country = published.country.as_deref().and_then(country_code).or_else(|| match published.regions.as_slice() {
        [region] if region.len() == 2 => Some(region.to_uppercase()),
        _ => None,
    });
    let mut hosts: Vec<String> = hosts.into_iter().filter(|host| *host != main).take(MOST_DOMAINS - 1).collect();
    if format::check_name(&main).is_ok() && !is_shared(&main, shared) {
        hosts.insert(0, main);
    }
    Some(Row {
        slug: slug(&name),
        vendor: vendor(&name),
        name,
        country,
        kind,
        category,
        hosts,
        facts: facts(&published),
        sources: published.sources,
        ..Row::default()
    })
}

fn facts(published: &Published) -> Facts {
    let mut mfa = published.mfa.clone();
    mfa.sort();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let disclosure = published.vuln_disclosure.as_ref().and_then(|it| Some((it, it.policy.clone()?)));
    Facts {
        mfa,
        mfa_docs: published.mfa_docs.as_str().filter(|url| url.starts_with("https://")).map(str::to_owned),
        sso: published.sso.as_ref().filter(|sso| !text(&sso.with_sso).trim().is_empty()).map(|sso| SsoPrice {
            base: text(&sso.base),
            with_sso: text(&sso.with_sso),
            increase: text(&sso.increase),
            seen: text(&sso.seen),
        }),
        disclosure: disclosure.filter(|(_, policy)| policy.starts_with("http")).map(|(it, policy)| Disclosure {
            policy,
            bounty: match it.bounty.as_deref() {
                Some("yes") => Some(true),
                Some("no") => Some(false),
                _ => None,
            },
            safe_harbor: text(&it.safe_harbor),
        }),
    }
}

/// Adds what is known in another row.
fn fill(facts: &mut Facts, other: Facts) {
    if facts.mfa.is_empty() {
        (facts.mfa, facts.mfa_docs) = (other.mfa, other.mfa_docs);
    }
    facts.sso = facts.sso.take().or(other.sso);
    facts.disclosure = facts.disclosure.take().or(other.disclosure);
}

/// The label that names the brand: `example` in `mail.example.co.uk`.
fn brand(domain: &str) -> Option<&str> {
    const SECOND: &[&str] = &["co", "com", "org", "net", "gov", "edu", "ac", "or", "ne", "go", "gob"];
    let mut labels = domain.rsplit('.');
    let (last, second) = (labels.next()?, labels.next()?);
    // Under a country's own `co.` and its like the brand stands one label further left.
    if last.len() == 2 && SECOND.contains(&second) { labels.next() } else { Some(second) }
}

/// Whether a domain is the brand's, going by its name: lists also hold what squatters registered.
fn belongs(domain: &str, label: &str) -> bool {
    const PARTS: &[&str] = &[
        "cdn",
        "static",
        "api",
        "apis",
        "app",
        "apps",
        "mail",
        "content",
        "usercontent",
        "img",
        "images",
        "media",
        "assets",
        "pay",
        "cloud",
        "dev",
        "web",
        "status",
        "corp",
        "inc",
        "hq",
        "group",
        "bank",
        "online",
        "support",
        "help",
    ];
    let Some(own) = brand(domain) else { return false };
    let Some(rest) = own.strip_prefix(label) else { return false };
    let rest = rest.trim_matches('-');
    rest.is_empty() || (label.len() >= 4 && PARTS.contains(&rest))
}

fn is_shared(host: &str, shared: &HashSet<String>) -> bool {
    let mut rest = Some(host);
    while let Some(this) = rest {
        if shared.contains(this) {
            return true;
        }
        rest = this.split_once('.').map(|(_, parent)| parent);
    }
    false
}

fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').chars().take(60).collect::<String>().trim_end_matches('-').to_owned()
}

/// The vendor where the name begins with it.
fn vendor(name: &str) -> Option<String> {
    const VENDORS: &[&str] = &[
        "Google",
        "Microsoft",
        "Amazon",
        "Apple",
        "Adobe",
        "Atlassian",
        "Cisco",
        "IBM",
        "Oracle",
        "SAP",
        "Yahoo",
        "Intuit",
        "Nord",
        "Proton",
        "Mozilla",
        "Cloudflare",
        "Meta",
        "Samsung",
        "Sony",
        "HP",
        "Dell",
        "Lenovo",
        "Yandex",
        "Naver",
        "Kakao",
        "Tencent",
        "Alibaba",
        "Baidu",
        "GoTo",
        "Zoho",
        "OVH",
        "Bitdefender",
        "Kaspersky",
        "Norton",
        "McAfee",
    ];
    VENDORS.iter().find(|vendor| name.split_whitespace().next() == Some(**vendor)).map(|vendor| (*vendor).to_owned())
}

fn country_code(name: &str) -> Option<String> {
    let code = match name {
        "USA" => "US",
        "China" => "CN",
        "Russia" => "RU",
        "France" => "FR",
        "Canada" => "CA",
        "Israel" => "IL",
        "UAE" => "AE",
        "Germany" => "DE",
        "Finland" => "FI",
        "UK" => "GB",
        _ => return None,
    };
    Some(code.to_owned())
}

/// The application type and content category of a word of the published lists.
fn kind_of(word: &str) -> Option<(u32, u32)> {
    Some(match word {
        "banking" | "cryptocurrencies" | "finance" | "investing" | "payments" | "insurance" | "crowdfunding" => {
            (1009, 3)
        }
        "developer" => (1003, 26),
        "retail" => (1027, 22),
        "utilities" | "postal" | "other" => (1000, 3),
        "universities" | "education" => (1004, 6),
        "hosting" | "domains" | "iot" => (1015, 26),
        "gaming" => (1011, 7),
        "marketing" => (1024, 3),
        "communication" => (1001, 12),
        "social" => (1028, 24),
        "entertainment" | "tickets" => (1007, 7),
        "security" | "identity" | "vpn" => (1026, 26),
        "backup" => (1008, 95),
        "health" => (1012, 10),
        "cloud" => (1023, 26),
        "travel" | "transport" => (1030, 27),
        "email" => (1005, 12),
        "government" => (1000, 9),
        "creativity" => (1021, 26),
        "task" => (1022, 3),
        "food" => (1010, 24),
        "remote" => (1015, 192),
        "legal" => (1016, 3),
        "betting" => (1007, 8),
        _ => return None,
    })
}

/// Puts the additions on top: they take in rows and take away hosts.
fn merge(mut elsewhere: BTreeMap<String, Row>, additions: Vec<Addition>, before: &[Row]) -> Vec<Row> {
    let ours: HashMap<&str, &Row> =
        before.iter().filter(|row| is_ours(row)).map(|row| (row.slug.as_str(), row)).collect();
    let mut claimed: HashSet<String> = HashSet::new();
    let mut rows = Vec::with_capacity(additions.len() + elsewhere.len());
    for Addition { mut row, was } in additions {
        // What was known of a row that was taken in stays known when only the additions are read again.
        if let Some(known) = ours.get(row.slug.as_str()) {
            fill(&mut row.facts, known.facts.clone());
            row.sources.extend(known.sources.iter().cloned());
        }
        for id in was {
            if let Some(taken) = elsewhere.remove(&id) {
                fill(&mut row.facts, taken.facts);
                row.sources.extend(taken.sources);
            }
        }
        claimed.extend(row.hosts.iter().chain(&row.support).cloned());
        rows.push(row);
    }
    let slugs: HashSet<String> = rows.iter().map(|row| row.slug.clone()).collect();
    let names: HashSet<String> = rows.iter().map(|row| row.name.to_lowercase()).collect();
    let mut taken = slugs;
    for (_, mut row) in elsewhere {
        let known = names.contains(&row.name.to_lowercase());
        row.hosts.retain(|host| claimed.insert(host.clone()));
        // A row that an addition describes better, or whose hosts all belong to others, adds nothing.
        if row.hosts.is_empty()
            || known
            || row.sources.iter().all(|source| source == "shadowai-domains" || source == "v2fly")
        {
            continue;
        }
        if row.slug.is_empty() || !taken.insert(row.slug.clone()) {
            row.slug = slug(&row.hosts[0]);
            if !taken.insert(row.slug.clone()) {
                continue;
            }
        }
        rows.push(row);
    }
    for row in &mut rows {
        row.sources.sort();
        row.sources.dedup();
    }
    rows
}

/// Gives every application its number: the one it had, the one Gateway publishes, or the next.
fn number(mut rows: Vec<Row>, before: Option<&(Header, Vec<Row>)>) -> Result<(Vec<Row>, u32)> {
    let known: HashMap<&str, u32> =
        before.map(|(_, rows)| rows.iter().map(|row| (row.slug.as_str(), row.id)).collect()).unwrap_or_default();
    let mut next = before.map_or(FIRST_ID, |(header, _)| header.next_id);
    rows.sort_by(|one, other| one.slug.cmp(&other.slug));
    for row in &mut rows {
        if let Some(id) = known.get(row.slug.as_str()) {
            if row.id != 0 && row.id != *id {
                bail!("\"{}\" had the number {id} and is to have {}; numbers do not change", row.slug, row.id);
            }
            row.id = *id;
        } else if row.id == 0 {
            row.id = next;
            next += 1;
        }
    }
    rows.sort_by_key(|row| row.id);
    Ok((rows, next))
}
