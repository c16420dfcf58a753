//! The gateway under load, next to Squid and mitmproxy in the same run: new intercepted connections, keep-alive
//! requests, large bodies, memory. Every figure is a ratio; the proxies share one core, client and origin the other.
//!
//! Run by `cargo xtask bench gateway`, which installs the peers and passes where they are.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints, and is told things by xtask")]

mod ceiling;
mod load;
mod peers;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use serde_json::json;
use testkit::{Origin, OriginTls, Platform};

use load::{Load, Proxy};

const SMALL: usize = 1024;
const LARGE: usize = 1 << 20;
/// The name every client asks for. All peers resolve it without configuration.
const HOST: &str = "localhost";

fn main() -> Result<()> {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    peers::pin_to_core(std::process::id(), 1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(length: Duration) -> Result<()> {
    let tls = OriginTls::for_names(&[HOST], &["http/1.1"])?;
    let router = Router::new()
        .route("/small", get(|| async { vec![b'x'; SMALL] }))
        .route("/large", get(|| async { bytes::Bytes::from_static(&[b'x'; LARGE]) }));
    let origin = Origin::start(router, Some(&tls)).await?;
    let target = format!("{HOST}:{}", origin.address.port());
    let work = tempfile::tempdir()?;
    let root = work.path().join("origin-root.pem");
    std::fs::write(&root, &tls.root)?;

    let handshakes = ceiling::measure()?;
    println!(
        "TLS handshakes per second and core: server {:.0}, client {:.0}; ceiling {:.0}",
        handshakes.server,
        handshakes.client,
        handshakes.ceiling()
    );

    let platform = start_portunus(&tls, origin.address.port()).await?;
    let ours = Proxy::portunus(&platform)?;
    let tunnel = Proxy::tunnel(&platform, &tls)?;
    let load = Load { target: &target, length };

    let connections = load.new_connections(&ours, 16).await?;
    println!("portunus: {connections}");
    println!(
        "new intercepted connections: {:.2} of the ceiling (at least 0.60)",
        connections.rate / handshakes.ceiling()
    );
    let requests = load.keep_alive(&ours, 32).await?;
    println!("portunus: {requests}");

    streaming(&load, &ours, &tunnel, &platform).await?;
    drop(platform);
    compare(&load, &connections, &requests, work.path(), &root).await
}

/// 1 MB bodies through interception against the same through a plain tunnel, and memory while many stream.
async fn streaming(load: &Load<'_>, ours: &Proxy, tunnel: &Proxy, platform: &Platform) -> Result<()> {
    let resting = peers::resident_kib(platform.process_id())?;
    let inspected = load.large(ours, 4).await?;
    let plain = load.large_through_tunnel(tunnel, 4).await?;
    println!(
        "1 MB bodies: inspected {inspected}; plain tunnel {plain}; ratio {:.2} (at least 0.90)",
        inspected.rate / plain.rate
    );
    let mut previous = None;
    for connections in [16, 64] {
        load.large(ours, connections).await?;
        let used = peers::resident_kib(platform.process_id())?;
        let growth = used.saturating_sub(resting) / connections as u64;
        println!("memory with {connections} connections streaming: {used} KiB ({growth} KiB each above rest)");
        previous = Some(used);
    }
    println!("memory at rest {resting} KiB, after streaming {} KiB", previous.unwrap_or(resting));
    Ok(())
}

async fn compare(
    load: &Load<'_>,
    connections: &load::Measured,
    requests: &load::Measured,
    work: &Path,
    origin_root: &Path,
) -> Result<()> {
    let squid = peers::Squid::start(work, origin_root).context("Squid")?;
    let theirs = load.new_connections(squid.proxy(), 16).await?;
    println!("squid:    {theirs}");
    println!("new connections against Squid: {:.1}x (at least 3)", connections.rate / theirs.rate);
    let theirs = load.keep_alive(squid.proxy(), 32).await?;
    println!("squid:    {theirs}");
    println!("keep-alive requests against Squid: {:.1}x (at least 3)", requests.rate / theirs.rate);
    drop(squid);
    let mitmproxy = peers::Mitmproxy::start(work, origin_root).context("mitmproxy")?;
    let theirs = load.keep_alive(mitmproxy.proxy(), 32).await?;
    println!("mitmproxy: {theirs}");
    println!("keep-alive requests against mitmproxy: {:.1}x (at least 50)", requests.rate / theirs.rate);
    Ok(())
}

async fn start_portunus(tls: &OriginTls, port: u16) -> Result<Platform> {
    let binary = std::env::var("PORTUNUS_BINARY").context("PORTUNUS_BINARY names no release binary")?;
    let platform = Platform::start(Path::new(&binary), &[])?;
    peers::pin_to_core(platform.process_id(), 0)?;
    let network = json!({ "roots": [tls.root], "allow": [format!("127.0.0.1:{port}"), format!("[::1]:{port}")], "hosts": { HOST: "127.0.0.1" } });
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
