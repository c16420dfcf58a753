//! An MCP portal under load: next to the same server called directly, and to another gateway, in one run. The portal and
//! the peer have one core, clients and the servers behind them the other.
//!
//! Run by `cargo xtask bench agents`, which installs the peers. Every answer is read and compared with the sum it has to be,
//! so nothing that was refused or made up counts. Clients without a pause say how much the portal can do; what a call takes
//! longer is measured with clients that pause, since without room to spare waiting for a turn is all there is to see. With
//! `BENCH_ALONE` set nothing else is measured: the load that `cargo xtask dist` watches.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints, and is told things by xtask")]

mod client;
#[expect(dead_code, reason = "shared with the benchmarks of other planes")]
#[path = "../measure/mod.rs"]
mod measure;
mod peer;
mod portal;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::Platform;

use client::{Client, Site, load};
use measure::Measured;
use measure::process::{pin, pin_family, resident_kib};
use peer::Peer;
use portal::Published;
use server::Servers;

/// Clients at once.
const MANY: usize = 32;
/// Between two calls of one client, where the portal is to have room.
const PAUSE: Duration = Duration::from_millis(20);
/// Each load is repeated in turn with what it is compared with, so that both see the same machine.
const ROUNDS: u32 = 5;
const SESSIONS: usize = 1_000;
/// A caller has at most 64 sessions.
const SESSIONS_OF_ONE: usize = 50;
const CODE: &str = "?codemode=search_and_execute";

fn main() -> Result<()> {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    pin(std::process::id(), "1")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(length: Duration) -> Result<()> {
    let binary = PathBuf::from(std::env::var("PORTUNUS_BINARY").context("PORTUNUS_BINARY names no release binary")?);
    let servers = Servers::start().await?;
    let platform = Platform::start(&binary, &[])?;
    pin_family(platform.process_id(), "0")?;
    let published = Published::make(&platform, &servers).await?;
    let (portal, direct) = (published.site("one.localhost"), servers.site(0, platform.process_id()));
    if std::env::var_os("BENCH_ALONE").is_some() {
        return alone(&portal, length).await;
    }
    overhead(&portal, &direct, length / ROUNDS).await?;
    let ours = fastest(&portal, length).await?;
    println!("32 clients without a pause, through the portal: {ours}");
    chain(&published.site("many.localhost"), &direct).await?;
    definitions(&published).await?;
    idle(&published, platform.process_id()).await?;
    drop(platform);
    let work = tempfile::tempdir()?;
    against_peer(&ours, &servers, work.path(), length).await
}

async fn alone(portal: &Site, length: Duration) -> Result<()> {
    println!("1 client, through the portal: {}", load(portal, 1, None, length).await?);
    println!("32 clients without a pause, through the portal: {}", fastest(portal, length).await?);
    Ok(())
}

/// What a call takes longer through the portal.
async fn overhead(portal: &Site, direct: &Site, length: Duration) -> Result<()> {
    for (clients, pause, what) in [(1, None, "1 client"), (MANY, Some(PAUSE), "32 clients")] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(load(direct, clients, pause, length).await?);
            ours.push(load(portal, clients, pause, length).await?);
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{what}, through the portal: {ours}");
        println!("{what}, directly:           {theirs}");
        let more = ours.p50.as_secs_f64() - theirs.p50.as_secs_f64();
        println!("{what}: at p50 the portal adds {:.0} us to a call (at most 250)", more * 1e6);
    }
    Ok(())
}

fn median(mut rounds: Vec<Measured>) -> Measured {
    rounds.sort_by_key(|round| round.p50);
    let middle = rounds.len() / 2;
    rounds.swap_remove(middle)
}

async fn fastest(site: &Site, length: Duration) -> Result<Measured> {
    load(site, MANY, None, length).await
}

async fn against_peer(ours: &Measured, servers: &Servers, work: &Path, length: Duration) -> Result<()> {
    let peer = Peer::start(work, servers).await.context("mcp-contextforge-gateway")?;
    let theirs = fastest(&peer.site, length).await?;
    println!("32 clients without a pause, mcp-contextforge-gateway: {theirs}");
    let (clock, cpu) = (ours.rate / theirs.rate, theirs.cpu / ours.cpu);
    println!(
        "against mcp-contextforge-gateway: {cpu:.1}x for the same CPU, {clock:.1}x calls per second (at least 20)"
    );
    Ok(())
}

/// Three calls, each with what the one before gave: as a program, and one by one without a portal.
async fn chain(portal: &Site, direct: &Site) -> Result<()> {
    let coded = Site { query: CODE, ..portal.clone() };
    let (mut program, mut plain) = (Client::begin(&coded).await?, Client::begin(direct).await?);
    let code = "async () => { let sum = 0; for (let n = 1; n <= 3; n++) sum = await codemode.s0_add_0({ a: sum, b: n }); return sum; }";
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let start = Instant::now();
        let answer = program.call("portal_codemode_execute", json!({ "code": code })).await?;
        ours.push(start.elapsed());
        ensure!(answer["content"][0]["text"] == "6", "the program gave {answer}");
        let start = Instant::now();
        let mut sum = 0;
        for number in 1..=3 {
            sum = plain.add(sum, number).await?;
        }
        theirs.push(start.elapsed());
        ensure!(sum == 6, "the calls gave {sum}");
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    let (ours, theirs) = (ours[ours.len() / 2], theirs[theirs.len() / 2]);
    let more = (ours.as_secs_f64() - theirs.as_secs_f64()) * 1e3;
    println!("a program that chains three calls: {:.2} ms; the three calls directly: {:.2} ms", ms(ours), ms(theirs));
    println!("at p50 a program that chains three calls takes longer by {more:.2} ms (at most 5)");
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What a model has to read before its first call.
async fn definitions(published: &Published<'_>) -> Result<()> {
    let mut counts = Vec::new();
    for (host, tools) in [("few.localhost", 52), ("many.localhost", 500)] {
        let site = published.site(host);
        let all = Client::begin(&site).await?.tools().await?;
        let count = all.as_array().map_or(0, Vec::len);
        ensure!(count >= tools, "{host} lists {count} tools");
        let coded = Client::begin(&Site { query: CODE, ..site }).await?.tools().await?;
        let (all, coded) = (tokens(&all)?, tokens(&coded)?);
        println!("definitions at {tools} tools: {all} tokens; with Code Mode {coded} (at most 500)");
        counts.push(coded);
    }
    let apart = counts[1].abs_diff(counts[0]);
    println!("definitions with Code Mode, between 52 and 500 tools: {apart} tokens apart (at most 0)");
    Ok(())
}

/// Counts with the tokenizer that models use (o200k_base).
fn tokens(value: &Value) -> Result<usize> {
    let packages = std::env::var("TOKENIZER").context("TOKENIZER names no directory")?;
    let script = "const { countTokens } = require('gpt-tokenizer/encoding/o200k_base'); \
        let text = ''; process.stdin.on('data', (piece) => text += piece).on('end', () => console.log(countTokens(text)));";
    let mut child = Command::new("node")
        .args(["-e", script])
        .current_dir(packages)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no standard input")?, value.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Sessions that have called every server once, and wait.
async fn idle(published: &Published<'_>, process: u32) -> Result<()> {
    let before = resident_kib(process)?;
    let mut clients = Vec::new();
    for number in 0..SESSIONS {
        let site = published.site_of("many.localhost", number / SESSIONS_OF_ONE);
        let mut client = Client::begin(&site).await?;
        for server in 0..server::COUNT {
            let sum = client.call(&format!("s{server}_add_0"), json!({ "a": number, "b": server })).await?;
            let expected = (number + server).to_string();
            ensure!(sum["content"][0]["text"] == expected.as_str(), "session {number} was told {sum}");
        }
        clients.push(client);
    }
    let mib = (resident_kib(process)?.saturating_sub(before)) as f64 / 1024.0;
    println!("{SESSIONS} idle sessions over {} servers: {mib:.1} MB (at most 60)", server::COUNT);
    Ok(())
}
