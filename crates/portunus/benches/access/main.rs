//! Access under load, next to itself without policies and to nginx in the same run. The proxies have one core, clients
//! and the application the other.
//!
//! Run by `cargo xtask bench access`, which installs the peers. The application counts who was named to it, so a request
//! that was let through without its token fails the run. Each request that policies let through is recorded, and a run whose
//! log holds none fails; a bypass is never recorded. With `BENCH_ALONE` set nothing else is measured: the load that
//! `cargo xtask dist` watches.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints, and is told things by xtask")]

mod load;
mod logins;
#[path = "../measure/mod.rs"]
mod measure;
mod nginx;
mod origin;
mod sign_in;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Url;
use serde_json::json;
use testkit::Platform;

use load::Target;
use logins::{CALLBACK, Peer};
use measure::process::{pin, pin_family, resident_kib};
use measure::{Measured, client_config};
use nginx::Nginx;
use origin::Origin;
use sign_in::{Browser, Person, SIGN_IN, listener};

/// The application with policies, and the same without any.
const GUARDED: &str = "wiki.localhost";
const OPEN: &str = "open.localhost";
/// Clients at once.
const ASKING: usize = 32;
/// Between two requests of one client that leaves the proxy room.
const PAUSE: Duration = Duration::from_millis(5);
/// Each load is repeated in turn with what it is compared with, so that both see the same machine.
const ROUNDS: u32 = 5;

fn main() -> Result<()> {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    pin(std::process::id(), "1")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(length: Duration) -> Result<()> {
    let binary = PathBuf::from(std::env::var("PORTUNUS_BINARY").context("PORTUNUS_BINARY names no release binary")?);
    let work = tempfile::tempdir()?;
    let origin = Origin::start().await?;
    let platform = start_portunus(&binary, &origin).await?;
    let person = Person::add(&binary, &platform, "ana@example.test")?;
    let cookie = signed_in(&platform, &person).await?;
    if std::env::var_os("BENCH_ALONE").is_some() {
        return alone(&platform, &origin, &person, cookie, length).await;
    }
    proxied(&platform, &origin, cookie, work.path(), length / ROUNDS).await?;
    ensure_recorded(&platform).await?;
    sign_ins(&platform, &person, work.path(), length).await
}

async fn alone(platform: &Platform, origin: &Origin, person: &Person, cookie: String, length: Duration) -> Result<()> {
    let guarded = guarded(platform, cookie)?;
    let [ours] = in_turn([&guarded], (ASKING, None), length / ROUNDS, origin).await?;
    println!("signed in, token injected: {ours}");
    println!("refreshes: {}", logins::our_refreshes(platform, person, length).await?);
    Ok(())
}

async fn sign_ins(platform: &Platform, person: &Person, work: &Path, length: Duration) -> Result<()> {
    let packages = PathBuf::from(std::env::var("OIDC_PROVIDER").context("OIDC_PROVIDER names no directory")?);
    let peer = Peer::start(work, &packages, person).context("oidc-provider")?;
    let ours = logins::ours(platform, person, length).await?;
    println!("sign-ins with a password:                {ours}");
    let theirs = peer.sign_ins(length).await?;
    println!("sign-ins with a password, oidc-provider: {theirs}");
    println!("sign-ins against oidc-provider: {} (passwords hashed alike)", ours.against(&theirs));
    let theirs = peer.refreshes(length).await?;
    let ours = logins::our_refreshes(platform, person, length).await?;
    println!("refreshes:                {ours}");
    println!("refreshes, oidc-provider: {theirs}");
    println!("refreshes against oidc-provider: {} (at least 5)", ours.against(&theirs));
    Ok(())
}

/// The platform with one application behind policies as small companies have them, and one that needs none.
async fn start_portunus(binary: &Path, origin: &Origin) -> Result<Platform> {
    let platform = Platform::start(binary, &[])?;
    pin_family(platform.process_id(), "0")?;
    let provider = json!({ "name": "Staff", "type": "portunus", "config": {} });
    platform.api("POST", "/access/identity_providers", Some(provider)).await?;
    // What is compared with nginx writes down whom it let through, as its users want it to.
    let recorded = json!({ "portunus": { "log_allowed_per_mille": 1_000 } });
    platform.api("PUT", "/access/organizations", Some(recorded)).await?;
    let origin = json!({ "origin": { "url": format!("http://{}", origin.address) } });
    let everyone = json!([{ "name": "Anybody", "decision": "bypass", "include": [{ "everyone": {} }] }]);
    let staff = json!([
        { "name": "Former staff", "decision": "deny", "precedence": 1,
          "include": [{ "email": { "email": "eve@example.test" } }, { "email_domain": { "domain": "former.test" } }] },
        { "name": "Agents", "decision": "non_identity", "precedence": 2,
          "include": [{ "any_valid_service_token": {} }] },
        { "name": "Staff", "decision": "allow", "precedence": 3,
          "include": [{ "email_domain": { "domain": "example.test" } }],
          "require": [{ "ip": { "ip": "127.0.0.0/8" } }],
          "exclude": [{ "ip": { "ip": "203.0.113.0/24" } }, { "email": { "email": "mallory@example.test" } }] },
    ]);
    for (name, policies) in [(GUARDED, staff), (OPEN, everyone)] {
        let mut application = json!({
            "type": "self_hosted", "name": name, "domain": name, "policies": policies, "portunus": origin,
        });
        if name == GUARDED {
            let registration = json!({ "enabled": true, "allowed_uris": [CALLBACK] });
            application["oauth_configuration"] = json!({ "dynamic_client_registration": registration });
        }
        platform.api("POST", "/access/apps", Some(application)).await?;
    }
    Ok(platform)
}

/// Signs somebody in and returns the cookie of the guarded application.
async fn signed_in(platform: &Platform, person: &Person) -> Result<String> {
    let at = listener(platform)?;
    let page = Url::parse(&format!("https://{GUARDED}:{}/", at.port()))?;
    let authority = std::fs::read_to_string(&platform.ready.ca_certificate)?;
    let mut browser = Browser::new(&authority, at, &[GUARDED, SIGN_IN], Ipv4Addr::LOCALHOST)?;
    // What was stored comes into force with the next change that is read.
    for _ in 0..100 {
        if browser.sign_in(person, &page).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    browser.token(GUARDED)
}

/// Fails unless requests that were let through stand in the log.
async fn ensure_recorded(platform: &Platform) -> Result<()> {
    let records = platform.api("GET", "/portunus/logs/access_requests?limit=10", None).await?;
    let records = records.as_array().context("the log is no list")?;
    let passed = records.iter().any(|record| record["Action"] == "request" && record["Allowed"] == true);
    ensure!(passed, "no request that was let through is in the log: {records:?}");
    Ok(())
}

/// Requests of somebody who is signed in.
fn guarded(platform: &Platform, cookie: String) -> Result<Target> {
    let tls = client_config(&std::fs::read_to_string(&platform.ready.ca_certificate)?, true)?;
    Ok(Target { address: listener(platform)?, process: platform.process_id(), tls, name: GUARDED, cookie })
}

/// Requests of somebody who is signed in, against the same reverse proxy without policies and against nginx.
async fn proxied(platform: &Platform, origin: &Origin, cookie: String, work: &Path, length: Duration) -> Result<()> {
    let process = platform.process_id();
    let guarded = guarded(platform, cookie)?;
    // A cookie of the same length that says nothing to us: what the bytes alone cost.
    let ballast = format!("preferences={}", "x".repeat(guarded.cookie.len() - "preferences=".len()));
    let laden = Target { name: OPEN, cookie: ballast, ..guarded.clone() };
    let open = Target { cookie: String::new(), ..laden.clone() };
    let nginx = Nginx::start(work, origin.address, guarded.cookie.clone()).context("nginx")?;
    for (connections, pause, what) in
        [(1, None, "one client"), (ASKING, Some(PAUSE), "32 clients in turn"), (ASKING, None, "32 clients")]
    {
        let targets = [&guarded, &open, &laden, &nginx.target];
        origin.take();
        let [ours, bare, same_bytes, theirs] = in_turn(targets, (connections, pause), length, origin).await?;
        println!("{what}, signed in, token injected:           {ours}");
        println!("{what}, no policy and no cookie:             {bare}");
        println!("{what}, no policy, a cookie of equal length: {same_bytes}");
        println!("{what}, nginx proxy_pass:                    {theirs}");
        let at = |one: &Measured, other: &Measured| one.p50.as_secs_f64() / other.p50.as_secs_f64();
        println!(
            "{what}: p50 {:.2} of the proxy without policies (at most 1.15), {:.2} with equal bytes; {:.1} us of CPU more",
            at(&ours, &bare),
            at(&ours, &same_bytes),
            (ours.cpu - bare.cpu) * 1e6
        );
        if pause.is_none() {
            println!(
                "{what}: against nginx {} (at least 0.5): {:.0} and {:.0} requests per second of one core",
                ours.against(&theirs),
                ours.per_core(),
                theirs.per_core()
            );
        }
        let count = ours.count + bare.count + same_bytes.count + theirs.count;
        println!("{what}: {count} requests in these rounds; {} KiB resident", resident_kib(process)?);
    }
    Ok(())
}

/// Puts load on each target in turn, several times over, and returns each one's median round.
async fn in_turn<const N: usize>(
    targets: [&Target; N],
    (connections, pause): (usize, Option<Duration>),
    length: Duration,
    origin: &Origin,
) -> Result<[Measured; N]> {
    let mut rounds: [Vec<Measured>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (target, rounds) in targets.iter().zip(&mut rounds) {
            rounds.push(target.load(connections, pause, length).await?);
            let (named, unnamed) = origin.take();
            let wrong = if target.name == GUARDED { unnamed } else { named };
            ensure!(wrong == 0, "{}: {named} connections named somebody, {unnamed} did not", target.name);
        }
    }
    Ok(rounds.map(|mut rounds| {
        rounds.sort_by_key(|round| round.p50);
        rounds.swap_remove(rounds.len() / 2)
    }))
}
