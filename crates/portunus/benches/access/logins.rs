//! Whole sign-ins with a password: the platform's, to an application behind it, and those of npm `oidc-provider`, to a code
//! and its tokens. Both hash the password alike, which is most of what a sign-in costs. Then refreshes of both, with rotation,
//! on kept-alive connections of as many public clients.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Url;
use serde_json::{Value, json};
use testkit::Platform;
use tokio::task::JoinSet;

use crate::GUARDED;
use crate::measure::Measured;
use crate::measure::process::{cpu_seconds, end, family, pin_family};
use crate::sign_in::{Browser, Person, SIGN_IN, listener};

const PEER: &str = "peer.localhost";
const OURS: &[&str] = &[GUARDED, SIGN_IN];
/// A PKCE verifier (RFC 7636 section 4.1); who knows it does not matter here.
const VERIFIER: &str = "a-verifier-of-the-benchmark-and-nothing-else-43";
pub(crate) const CALLBACK: &str = "https://client.localhost/callback";
/// Clients at once.
const SIGNING_IN: usize = 8;
/// Clients that refresh at once: enough that nobody's core rests while a disk is waited for.
const REFRESHING: usize = 32;

/// Returns an address of this machine that nobody came from yet: sign-ins are bounded for each.
pub(crate) fn fresh_source() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(u32::from_be_bytes([127, 1, 0, 1]));
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Repeats `job` on so many clients until the time is over.
async fn repeat<J>(process: u32, clients: usize, length: Duration, job: impl Fn() -> J) -> Result<Measured>
where
    J: AsyncFnMut() -> Result<()> + 'static,
{
    let members = family(process)?;
    let (start, cpu) = (Instant::now(), cpu_seconds(&members));
    let local = tokio::task::LocalSet::new();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let mut job = job();
        let client = async move {
            let mut latencies = Vec::new();
            while start.elapsed() < length {
                let began = Instant::now();
                job().await?;
                latencies.push(began.elapsed());
            }
            Ok::<_, anyhow::Error>(latencies)
        };
        tasks.spawn_local_on(client, &local);
    }
    let mut latencies = Vec::new();
    let whole = local.run_until(async {
        while let Some(times) = tasks.join_next().await {
            latencies.extend(times??);
        }
        Ok::<_, anyhow::Error>(())
    });
    whole.await?;
    let (elapsed, cpu) = (start.elapsed(), cpu_seconds(&members) - cpu);
    latencies.sort_unstable();
    let count = latencies.len();
    let at = |share: f64| latencies[(count.saturating_sub(1) as f64 * share) as usize];
    let rate = count as f64 / elapsed.as_secs_f64();
    Ok(Measured { rate, cpu: cpu / count as f64, count: count as u64, p50: at(0.50), p99: at(0.99) })
}

/// Sign-ins at the platform, each from another address.
pub(crate) async fn ours(platform: &Platform, person: &Person, length: Duration) -> Result<Measured> {
    let authority = std::fs::read_to_string(&platform.ready.ca_certificate)?;
    let at = listener(platform)?;
    let page = Url::parse(&format!("https://{GUARDED}:{}/", at.port()))?;
    let client = || {
        let (authority, page, person) = (authority.clone(), page.clone(), person.clone());
        async move || {
            let mut browser = Browser::new(&authority, at, OURS, fresh_source())?;
            let end = browser.sign_in(&person, &page).await?;
            anyhow::ensure!(end == page, "the sign-in ended at {end}");
            Ok(())
        }
    };
    repeat(platform.process_id(), SIGNING_IN, length, client).await
}

/// npm `oidc-provider`, on core 0.
pub(crate) struct Peer {
    child: Child,
    address: SocketAddr,
    authority: String,
    person: Person,
}

impl Peer {
    /// Starts it over the packages in `directory`, which holds the script too.
    pub(crate) fn start(work: &Path, directory: &Path, person: &Person) -> Result<Self> {
        let key = KeyPair::generate()?;
        let authority = CertificateParams::new(vec![PEER.to_owned()])?.self_signed(&key)?.pem();
        let (certificate_file, key_file) = (work.join("peer.pem"), work.join("peer.key"));
        std::fs::write(&certificate_file, &authority)?;
        std::fs::write(&key_file, key.serialize_pem())?;
        let mut child = Command::new("node")
            .arg(directory.join("oidc-provider.mjs"))
            .args([&certificate_file, &key_file])
            .arg(&person.password)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("node")?;
        let output = child.stdout.take().context("no output")?;
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        let port = lines.filter_map(|line| line.trim().parse::<u16>().ok()).next().context("it did not start")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let peer = Self { child, address, authority, person: person.clone() };
        pin_family(peer.child.id(), "0")?;
        Ok(peer)
    }

    /// Whole sign-ins, tokens included.
    pub(crate) async fn sign_ins(&self, length: Duration) -> Result<Measured> {
        let client = || {
            let signer = self.client();
            async move || signer.sign_in().await.map(drop)
        };
        repeat(self.child.id(), SIGNING_IN, length, client).await
    }

    /// Refreshes with rotation.
    pub(crate) async fn refreshes(&self, length: Duration) -> Result<Measured> {
        let mut chains = Vec::new();
        for _ in 0..REFRESHING {
            chains.push(self.client().sign_in().await?);
        }
        refreshes(self.child.id(), chains, length).await
    }

    fn client(&self) -> PeerClient {
        PeerClient { address: self.address, authority: self.authority.clone(), person: self.person.clone() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

struct PeerClient {
    address: SocketAddr,
    authority: String,
    person: Person,
}

impl PeerClient {
    /// Signs in, to a refresh token.
    async fn sign_in(&self) -> Result<Chain> {
        let mut browser = Browser::new(&self.authority, self.address, &[PEER], Ipv4Addr::LOCALHOST)?;
        let site = format!("https://{PEER}:{}", self.address.port());
        let page = authorization(&format!("{site}/auth"), "bench", &[("scope", "wiki")])?;
        let end = browser.sign_in(&self.person, &page).await?;
        Chain::begin(browser, format!("{site}/token"), "bench".to_owned(), &end).await
    }
}

/// Refreshes with rotation at the platform, each agent of a registration, a consent and an address of its own.
pub(crate) async fn our_refreshes(platform: &Platform, person: &Person, length: Duration) -> Result<Measured> {
    let authority = std::fs::read_to_string(&platform.ready.ca_certificate)?;
    let at = listener(platform)?;
    let site = format!("https://{GUARDED}:{}/cdn-cgi/access/oauth", at.port());
    let mut chains = Vec::new();
    for _ in 0..REFRESHING {
        let mut browser = Browser::new(&authority, at, OURS, fresh_source())?;
        let registration = json!({
            "client_name": "bench", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        });
        let answer = browser.client.post(format!("{site}/registration")).json(&registration).send().await?;
        let made: Value = serde_json::from_str(&answer.text().await?)?;
        let client = made["client_id"].as_str().with_context(|| format!("no client: {made}"))?.to_owned();
        let page = authorization(&format!("{site}/authorization"), &client, &[])?;
        let consent = browser.sign_in(person, &page).await?;
        let end = browser.submit(&consent, &[("answer", "allow")]).await?;
        chains.push(Chain::begin(browser, format!("{site}/token"), client, &end).await?);
    }
    refreshes(platform.process_id(), chains, length).await
}

async fn refreshes(process: u32, chains: Vec<Chain>, length: Duration) -> Result<Measured> {
    let clients = chains.len();
    let chains = std::cell::RefCell::new(chains);
    let client = || {
        let mut chain = chains.borrow_mut().pop();
        async move || chain.as_mut().context("fewer chains than clients")?.refresh().await
    };
    repeat(process, clients, length, client).await
}

/// Where a person is sent to say yes, with PKCE.
fn authorization(endpoint: &str, client: &str, more: &[(&str, &str)]) -> Result<Url> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let query = [
        ("client_id", client),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("state", "x"),
    ];
    Ok(Url::parse_with_params(endpoint, [&query, more].concat())?)
}

/// A client with the refresh token it was given last.
struct Chain {
    browser: Browser,
    endpoint: String,
    client: String,
    token: String,
}

impl Chain {
    /// Exchanges the code in `end`, where the browser was sent.
    async fn begin(browser: Browser, endpoint: String, client: String, end: &Url) -> Result<Self> {
        let code = end.query_pairs().find(|(name, _)| name == "code").with_context(|| format!("no code in {end}"))?.1;
        let mut chain = Self { browser, endpoint, client, token: String::new() };
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        chain.token = chain.ask(&fields).await?;
        Ok(chain)
    }

    async fn refresh(&mut self) -> Result<()> {
        self.token = self.ask(&[("grant_type", "refresh_token"), ("refresh_token", self.token.as_str())]).await?;
        Ok(())
    }

    /// Asks for tokens and returns the refresh token.
    async fn ask(&self, fields: &[(&str, &str)]) -> Result<String> {
        let form = [&[("client_id", self.client.as_str())], fields].concat();
        let answer = self.browser.client.post(&self.endpoint).form(&form).send().await?.text().await?;
        let tokens: Value = serde_json::from_str(&answer)?;
        Ok(tokens["refresh_token"].as_str().with_context(|| format!("no refresh token in {answer}"))?.to_owned())
    }
}
