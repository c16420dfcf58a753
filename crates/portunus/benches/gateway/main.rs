//! The gateway under load, next to Squid and mitmproxy in the same run: new intercepted connections, keep-alive
//! requests, large bodies, memory, start. The proxies have one core, client and origin the other.
//!
//! Run by `cargo xtask bench gateway`, which installs the peers and passes where they are. Every client trusts only the
//! authority of the proxy it goes through, so an answer that was not inspected fails the run; and the log is counted.
//! With `BENCH_ALONE` set nothing else is measured: the load that `cargo xtask dist` watches.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints, and is told things by xtask")]

mod ceiling;
mod load;
#[expect(dead_code, reason = "shared with the benchmarks of other planes")]
#[path = "../measure/mod.rs"]
mod measure;
mod peers;
mod relay;
mod resources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use serde_json::json;
use testkit::{Origin, OriginTls, Platform};

use ceiling::Handshakes;
use load::{Load, Proxy, Site};
use measure::Measured;

const SMALL: usize = 1024;
const LARGE: usize = 1 << 20;
const HUGE: usize = 32 << 20;
/// The name every client asks for. All peers resolve it without configuration.
const HOST: &str = "localhost";
/// The same origin under a name on the do-not-inspect list.
const TUNNELLED: &str = "tunnel.test";
/// Clients at once, per kind of load.
const CONNECTING: usize = 16;
const ASKING: usize = 32;
const STREAMING: usize = 4;
/// How often requests are made with their records and without them.
const PAIRS: usize = 11;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, origin_root, own_root] = arguments.as_slice()
        && first == relay::ARGUMENT
    {
        return relay::run(origin_root, own_root);
    }
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    measure::process::pin(std::process::id(), "1")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds)))
}

/// What all proxies are sent to.
struct Origins {
    tls: OriginTls,
    kept: Origin,
    /// Ends every connection after one answer and resumes no session: each request costs two full handshakes.
    fresh: Origin,
}

impl Origins {
    async fn start() -> Result<Self> {
        let tls = OriginTls::for_names(&[HOST, TUNNELLED], &["http/1.1"])?;
        let huge = bytes::Bytes::from(vec![b'x'; HUGE]);
        let router = Router::new()
            .route("/small", get(|| async { bytes::Bytes::from_static(&[b'x'; SMALL]) }))
            .route("/large", get(|| async { bytes::Bytes::from_static(&[b'x'; LARGE]) }))
            .route("/huge", get(|| async move { huge }));
        let kept = Origin::start(router, Some(&tls)).await?;
        let mut config = rustls::ServerConfig::clone(&tls.config);
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let forgetful = OriginTls { root: tls.root.clone(), config: Arc::new(config) };
        let closing = [("connection", "close")];
        let router = Router::new().route("/small", get(move || async move { (closing, [b'x'; SMALL].to_vec()) }));
        let fresh = Origin::start(router, Some(&forgetful)).await?;
        Ok(Self { tls, kept, fresh })
    }

    fn kept(&self) -> Site {
        Site { name: HOST, port: self.kept.address.port() }
    }

    fn fresh(&self) -> Site {
        Site { name: HOST, port: self.fresh.address.port() }
    }

    fn tunnelled(&self) -> Site {
        Site { name: TUNNELLED, port: self.kept.address.port() }
    }
}

/// What is measured of every proxy.
struct Figures {
    fresh: Measured,
    kept: Measured,
    requests: Measured,
}

async fn measure(length: Duration) -> Result<()> {
    let binary = PathBuf::from(std::env::var("PORTUNUS_BINARY").context("PORTUNUS_BINARY names no release binary")?);
    let work = tempfile::tempdir()?;
    resources::start_and_rest(&binary, &work.path().join("data"))?;
    let origins = Origins::start().await?;
    let root = work.path().join("origin-root.pem");
    std::fs::write(&root, &origins.tls.root)?;
    let handshakes = ceiling::measure()?;
    println!(
        "TLS handshakes per second of CPU: server {:.0}, client {:.0}; both {:.0}, the ceiling",
        handshakes.server,
        handshakes.client,
        handshakes.ceiling()
    );
    let ours = ours(&binary, &origins, &handshakes, length).await?;
    if std::env::var_os("BENCH_ALONE").is_some() {
        return Ok(());
    }
    floor(&ours, &origins, length, work.path(), &root).await?;
    compare(&ours, &origins, length, work.path(), &root).await
}

async fn ours(binary: &Path, origins: &Origins, handshakes: &Handshakes, length: Duration) -> Result<Figures> {
    let platform = start_portunus(binary, origins).await?;
    let proxy = Proxy::portunus(&platform)?;
    come_into_force(&proxy, origins.kept()).await?;
    let figures = figures("portunus", &proxy, origins, length).await?;
    println!(
        "new intercepted connections: {:.2} of the ceiling for the same CPU (at least 0.60), {:.2} by the clock",
        figures.fresh.per_core() / handshakes.ceiling(),
        figures.fresh.rate / handshakes.ceiling()
    );
    let load = Load { site: origins.kept(), length };
    let streamed = streaming(load, origins.tunnelled(), &proxy, &Proxy::tunnel(&platform, &origins.tls.root)?).await?;
    let logged = resources::records(&platform, "gateway_http").await?;
    let counted = figures.fresh.count + figures.kept.count + figures.requests.count + streamed;
    ensure!(logged >= counted, "{counted} requests were made and {logged} are in the log");
    let tunnels = resources::records(&platform, "gateway_network").await?;
    ensure!(tunnels > 0, "no tunnel is in the log");
    println!("log: {logged} requests recorded for {counted} measured, {tunnels} tunnels");
    logging(&platform, &proxy, load).await?;
    Ok(figures)
}

/// What it costs that every request leaves a record: kept alive with it and without it, in turn, and the median of what is
/// lost. What waits until there is a moment is not in it: `cargo xtask bench logs` tells what that takes.
async fn logging(platform: &Platform, proxy: &Proxy, load: Load) -> Result<()> {
    let load = Load { length: load.length / 2, ..load };
    let (mut by_cpu, mut by_clock) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        record_requests(platform, proxy, load.site, true).await?;
        let recorded = load.keep_alive(proxy, ASKING).await?;
        record_requests(platform, proxy, load.site, false).await?;
        let silent = load.keep_alive(proxy, ASKING).await?;
        by_cpu.push((1.0 - recorded.per_core() / silent.per_core()) * 100.0);
        by_clock.push((1.0 - recorded.rate / silent.rate) * 100.0);
    }
    by_cpu.sort_unstable_by(f64::total_cmp);
    by_clock.sort_unstable_by(f64::total_cmp);
    println!(
        "logging: {:.1} % of the requests per second (at most 5) for the same CPU ({:.1} to {:.1} in {PAIRS} pairs), {:.1} % by the clock",
        by_cpu[PAIRS / 2],
        by_cpu[0],
        by_cpu[PAIRS - 1],
        by_clock[PAIRS / 2]
    );
    Ok(())
}

/// Switches records of web requests on or off, and waits until it is so.
async fn record_requests(platform: &Platform, proxy: &Proxy, site: Site, on: bool) -> Result<()> {
    let switches = json!({"log_all": on, "log_blocks": on});
    let logging = json!({"settings_by_rule_type": {"http": switches}});
    platform.api("PUT", "/gateway/logging", Some(logging)).await?;
    for _ in 0..20 {
        let before = resources::records(platform, "gateway_http").await?;
        (Load { site, length: Duration::ZERO }).keep_alive(proxy, 1).await?;
        if (resources::records(platform, "gateway_http").await? > before) == on {
            return Ok(());
        }
    }
    anyhow::bail!("the gateway does not take up whether it records")
}

/// Waits for the configuration: what was stored comes into force with the next changes that are read.
async fn come_into_force(proxy: &Proxy, site: Site) -> Result<()> {
    for _ in 0..100 {
        if (Load { site, length: Duration::ZERO }).keep_alive(proxy, 1).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the gateway does not take up what it was told")
}

async fn figures(name: &str, proxy: &Proxy, origins: &Origins, length: Duration) -> Result<Figures> {
    let fresh = Load { site: origins.fresh(), length }.new_connections(proxy, CONNECTING).await?;
    println!("{name}: new connections, a new one to the origin for each: {fresh}");
    let kept = Load { site: origins.kept(), length }.new_connections(proxy, CONNECTING).await?;
    println!("{name}: new connections, the origin's kept: {kept}");
    let requests = Load { site: origins.kept(), length }.keep_alive(proxy, ASKING).await?;
    println!("{name}: requests kept alive: {requests}");
    Ok(Figures { fresh, kept, requests })
}

/// 1 MB bodies through interception against the same through a plain tunnel, and memory while many stream. Returns how
/// many inspected requests were counted.
async fn streaming(load: Load, tunnelled: Site, ours: &Proxy, tunnel: &Proxy) -> Result<u64> {
    let plain = Load { site: tunnelled, ..load }.large(tunnel, STREAMING).await?;
    let inspected = load.large(ours, STREAMING).await?;
    println!("1 MB bodies, plain tunnel: {plain}");
    println!("1 MB bodies, inspected:    {inspected}");
    println!("1 MB bodies: {:.2} of the tunnel's rate (at least 0.90)", inspected.rate / plain.rate);
    let resting = measure::process::resident_kib(ours.process)?;
    for connections in [16, 64] {
        let used = load.memory_while_streaming(ours, connections).await?;
        let each = used.saturating_sub(resting) / connections as u64;
        println!(
            "memory, {connections} connections streaming 1 MB bodies: {used} KiB ({each} KiB each above {resting})"
        );
    }
    let resting = measure::process::resident_kib(ours.process)?;
    let used = load.memory_while_stalled(ours, 64).await?;
    println!(
        "memory, 64 connections of a 32 MB body that nobody reads: {used} KiB ({} KiB each above {resting})",
        used.saturating_sub(resting) / 64
    );
    Ok(inspected.count)
}

/// What is left to gain: the same load through a process that does nothing but TLS.
async fn floor(ours: &Figures, origins: &Origins, length: Duration, work: &Path, root: &Path) -> Result<()> {
    let relay = relay::Relay::start(work, root)?;
    let floor = Load { site: origins.kept(), length }.keep_alive(relay.proxy(), ASKING).await?;
    println!("relay, TLS on both sides and nothing else: requests kept alive: {floor}");
    println!("requests kept alive against the relay: {}", ours.requests.against(&floor));
    Ok(())
}

async fn compare(ours: &Figures, origins: &Origins, length: Duration, work: &Path, root: &Path) -> Result<()> {
    let squid = peers::Squid::start(work, root).context("Squid")?;
    let theirs = figures("squid", squid.proxy(), origins, length).await?;
    println!("new connections against Squid, new to the origin: {} (at least 3)", ours.fresh.against(&theirs.fresh));
    println!("new connections against Squid, origin's kept: {} (at least 3)", ours.kept.against(&theirs.kept));
    println!("requests kept alive against Squid: {} (at least 3)", ours.requests.against(&theirs.requests));
    drop(squid);
    let mitmproxy = peers::Mitmproxy::start(work, root).context("mitmproxy")?;
    let theirs = Load { site: origins.kept(), length }.keep_alive(mitmproxy.proxy(), ASKING).await?;
    println!("mitmproxy: requests kept alive: {theirs}");
    println!("requests kept alive against mitmproxy: {} (at least 50)", ours.requests.against(&theirs));
    Ok(())
}

async fn start_portunus(binary: &Path, origins: &Origins) -> Result<Platform> {
    // Started on one core, as the peers are: it makes as many threads as it has cores.
    let platform = Platform::start(binary, &[])?;
    measure::process::pin_family(platform.process_id(), "0")?;
    let allow: Vec<String> = [origins.kept(), origins.fresh()]
        .iter()
        .flat_map(|site| [format!("127.0.0.1:{}", site.port), format!("[::1]:{}", site.port)])
        .collect();
    let network = json!({
        "roots": [origins.tls.root],
        "allow": allow,
        "hosts": { HOST: "127.0.0.1", TUNNELLED: "127.0.0.1" },
        "bypass": [{ "pattern": TUNNELLED, "reason": "the tunnel that inspection is compared with" }],
    });
    platform.api("PUT", "/portunus/network", Some(network)).await?;
    // A rule set as small companies have it: the request is really decided, and the decision really logged.
    for (precedence, traffic) in [
        (1000, "any(http.request.domains[*] in {\"blocked.test\" \"casino.test\"})"),
        (2000, "http.request.uri.path matches \"^/internal/\" and identity.email == \"someone@else.test\""),
        (3000, "http.request.method in {\"TRACE\" \"CONNECT\"}"),
    ] {
        let rule = json!({ "name": format!("bench {precedence}"), "action": "block", "enabled": true, "filters": ["http"], "precedence": precedence, "traffic": traffic });
        platform.api("POST", "/gateway/rules", Some(rule)).await?;
    }
    Ok(platform)
}
