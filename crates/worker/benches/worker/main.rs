//! The Worker runtime: warm and cold calls, memory at a thousand scripts, the hard CPU limit, and the same script in
//! workerd over loopback keep-alive when `WORKERD` names its program.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints, and is told things by xtask")]

mod workerd;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portunus_worker as worker;
use types::AccountId;
use worker::protocol::{Isolation, Limits, Module};
use worker::{Answer, Call, CallErrorKind, EgressList, Host, Runtime, RuntimeConfig, Script, ScriptKey, empty_body};

const POLICY: &str = include_str!("policy.js");
const TRIVIAL: &str = "export default { fetch() { return undefined; } };";
const WARM_CALLS: usize = 20_000;
const SCRIPTS: usize = 1_000;

struct Nothing;
impl Host for Nothing {}

fn main() -> Result<()> {
    worker::run_if_zygote();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // On a thread of the pool, as the gateway's connections are.
    runtime.block_on(async { runtime.spawn(measure()).await? })
}

async fn measure() -> Result<()> {
    let config = RuntimeConfig { max_processes: SCRIPTS + 24, ..RuntimeConfig::default() };
    let runtime = Runtime::start(config).await?;
    warm(&runtime, &script("trivial", TRIVIAL, Isolation::Request), false).await?.print("trivial Worker", "");
    warm(&runtime, &script("shared", POLICY, Isolation::Shared), true).await?.print("40-line Worker, shared state", "");
    // The peer runs between two halves, so that a machine that grows busier meanwhile favours neither.
    let policy = script("policy", POLICY, Isolation::Request);
    let first = warm(&runtime, &policy, true).await?;
    let theirs = match std::env::var("WORKERD") {
        Ok(program) => Some(workerd::warm(&program, POLICY, WARM_CALLS).await?),
        Err(_) => None,
    };
    let second = warm(&runtime, &policy, true).await?;
    let ours = first.and(second);
    ours.print("40-line Worker", " (at most 150)");
    match theirs {
        Some(theirs) => {
            let (p50, p99) = (theirs.0.as_micros(), theirs.1.as_micros());
            println!("workerd, same Worker over loopback keep-alive: p50 {p50} us, p99 {p99} us");
            println!("ratio to workerd: {:.2} (at most 0.50)", ours.wall.0.as_secs_f64() / theirs.0.as_secs_f64());
        }
        None => println!("workerd: not measured, WORKERD names no program"),
    }
    cold(&runtime).await?;
    memory(&runtime).await?;
    hard_limit(&runtime).await?;
    runtime.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Median and 99th percentile of the calls to one script, and the median CPU time in its process.
struct Warm {
    wall: (Duration, Duration),
    cpu: Duration,
    samples: (Vec<Duration>, Vec<Duration>),
}

impl Warm {
    fn of(wall: Vec<Duration>, cpu: Vec<Duration>) -> Self {
        Self { wall: quantiles(wall.clone()), cpu: quantiles(cpu.clone()).0, samples: (wall, cpu) }
    }

    fn and(self, other: Self) -> Self {
        let ((mut wall, mut cpu), (more_wall, more_cpu)) = (self.samples, other.samples);
        wall.extend(more_wall);
        cpu.extend(more_cpu);
        Self::of(wall, cpu)
    }

    fn print(&self, what: &str, claim: &str) {
        let (p50, p99) = (self.wall.0.as_micros(), self.wall.1.as_micros());
        println!(
            "warm call, {what}: p50 {p50} us{claim}, p99 {p99} us, of it CPU in the script {} us",
            self.cpu.as_micros()
        );
    }
}

async fn warm(runtime: &Runtime, script: &Arc<Script>, answers: bool) -> Result<Warm> {
    let (mut wall, mut cpu) = (Vec::with_capacity(WARM_CALLS), Vec::with_capacity(WARM_CALLS));
    for round in 0..WARM_CALLS / 2 + 500 {
        let start = Instant::now();
        let reply = runtime.fetch(script, request()?, call()).await?;
        if round >= 500 {
            wall.push(start.elapsed());
            cpu.push(reply.report.cpu);
        }
        match reply.answer {
            Answer::Response(response) if answers && response.status() == 200 => {}
            Answer::NoOpinion if !answers => {}
            other @ (Answer::Response(_) | Answer::Request(_) | Answer::NoOpinion) => {
                bail!("unexpected answer {other:?}")
            }
        }
    }
    Ok(Warm::of(wall, cpu))
}

async fn cold(runtime: &Runtime) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..100 {
        let script = script(&format!("cold-{number}"), POLICY, Isolation::Request);
        let start = Instant::now();
        runtime.fetch(&script, request()?, call()).await?;
        samples.push(start.elapsed());
    }
    let (p50, p99) = quantiles(samples);
    println!("cold call: p50 {:.2} ms (at most 2), p99 {:.2} ms", p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
    runtime.retain(|_| false);
    Ok(())
}

async fn memory(runtime: &Runtime) -> Result<()> {
    let before: std::collections::BTreeSet<u32> = descendants(std::process::id()).into_iter().collect();
    for number in 0..SCRIPTS {
        runtime.fetch(&script(&format!("resident-{number}"), POLICY, Isolation::Request), request()?, call()).await?;
    }
    let children: Vec<u32> =
        descendants(std::process::id()).into_iter().filter(|child| !before.contains(child)).collect();
    let (mut proportional, mut tables) = (0, 0);
    for child in &children {
        proportional += field_kib(&format!("/proc/{child}/smaps_rollup"), "Pss:")?;
        tables += field_kib(&format!("/proc/{child}/status"), "VmPTE:")?;
    }
    let each = (proportional + tables) as f64 / 1024.0 / children.len().max(1) as f64;
    println!("memory at {} resident Workers: {each:.2} MB each (at most 0.60), page tables included", children.len());
    runtime.retain(|_| false);
    Ok(())
}

/// Loops that no interrupt handler sees from inside the engine's C code, and one that it does see.
async fn hard_limit(runtime: &Runtime) -> Result<()> {
    let loops = [
        ("loop", "while (true) {}"),
        ("indexOf", "const s = 'a'.repeat(1 << 22) + 'b'; while (true) s.lastIndexOf('aab'.repeat(1 << 10));"),
        (
            "sort",
            "const a = new Array(1 << 21).fill(0).map((_, i) => (i * 7919) % 104729); while (true) a.slice().sort();",
        ),
        ("fill", "const a = new Float64Array(1 << 20); while (true) a.fill(1.5);"),
        ("join", "const a = new Array(1 << 20).fill('x'); while (true) a.join('');"),
    ];
    let limit = Limits { cpu_ms: 50, memory_bytes: 256 << 20, ..Limits::default() };
    for (name, body) in loops {
        let source = format!("export default {{ fetch() {{ {body} }} }};");
        let (mut cpu, mut wall) = (Duration::ZERO, Duration::ZERO);
        for round in 0..5 {
            let spin = script(&format!("spin-{name}-{round}"), &source, Isolation::Request);
            let spin = Arc::new(Script { limits: limit, ..Script::clone(&spin) });
            runtime.check(&spin).await?;
            let start = Instant::now();
            let Err(error) = runtime.fetch(&spin, request()?, call()).await else { bail!("{name} answered") };
            if error.kind != CallErrorKind::Cpu {
                bail!("{name} ended with {error}");
            }
            cpu = cpu.max(error.report.cpu);
            wall = wall.max(start.elapsed());
        }
        let ratio = cpu.as_secs_f64() / 0.050;
        println!(
            "CPU limit of 50 ms, {name}: ended after {:.1} ms of CPU at worst, {ratio:.2}x (at most 2.2), {} ms on the clock",
            cpu.as_secs_f64() * 1e3,
            wall.as_millis()
        );
    }
    Ok(())
}

fn script(name: &str, source: &str, isolation: Isolation) -> Arc<Script> {
    Arc::new(Script {
        key: ScriptKey { account: AccountId(uuid::Uuid::nil()), name: name.into(), version: "1".into() },
        modules: vec![Module { name: "index.js".into(), code: source.into() }],
        bindings: BTreeMap::new(),
        egress: EgressList::default(),
        limits: Limits::default(),
        isolation,
    })
}

fn request() -> Result<http::Request<worker::Body>> {
    Ok(http::Request::get("https://finance.acme.test/ledger/2026?quarter=3")
        .header("x-person", "ana@acme.test")
        .header("x-group", "finance")
        .header("user-agent", "bench/1")
        .header("accept", "text/html,application/xhtml+xml")
        .body(empty_body())?)
}

fn call() -> Call {
    Call { host: Arc::new(Nothing), cf: Arc::from("{}"), timeout: Duration::from_secs(10) }
}

pub(crate) fn quantiles(mut samples: Vec<Duration>) -> (Duration, Duration) {
    samples.sort_unstable();
    let at = |share: f64| samples[((samples.len() - 1) as f64 * share) as usize];
    (at(0.50), at(0.99))
}

fn descendants(process: u32) -> Vec<u32> {
    let mut members = vec![process];
    let mut position = 0;
    while position < members.len() {
        for task in std::fs::read_dir(format!("/proc/{}/task", members[position])).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        position += 1;
    }
    members
}

fn field_kib(path: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in {path}"))?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
}
