//! The lake's speed and size over generated traffic: taking in, bytes on disk, memory, reports, and SQL beside DuckDB.
//!
//! `LAKE_ROWS` (default 3,000,000) records of one organisation over `LAKE_DAYS` (default 30) go through journal and keeper into
//! Parquet. With `DUCKDB_PYTHON`, an interpreter that has `duckdb`, the same questions are asked of both, with two
//! threads and 4 GB each, over the same files. With `LAKE_DIRECTORY`, the `logs` of a data directory that was generated before,
//! nothing is taken in: reports and questions are asked of what is there, as over a hundred million rows. Every line that states a bound names it; `cargo xtask bench` sums them up.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark prints and may stop")]
#![expect(clippy::disallowed_methods, reason = "it is told what to measure by its environment")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use generate::{Generator, Plan, Share};
use jiff::{Timestamp, ToSpan as _};
use logs::usage::{Ask, EVERY_APPLICATION, Groups, NO_APPLICATION, Over, View};
use logs::{AsRecord as _, Logs, LogsConfig};
use portunus_generate as generate;
use types::AccountId;

fn main() {
    // Both who answer questions have as many threads as there are processors to run on.
    keep_to_processors(2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

fn keep_to_processors(most: usize) {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let mut kept = rustix::thread::CpuSet::new();
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(most).for_each(|cpu| kept.set(cpu));
    rustix::thread::sched_setaffinity(None, &kept).unwrap();
}

fn rows_wanted() -> u64 {
    std::env::var("LAKE_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000_000)
}

/// Over how many days the records are spread.
fn days() -> u32 {
    std::env::var("LAKE_DAYS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// Asks what the report pages ask, of all days there are.
async fn reports(logs: &Logs, account: AccountId, days: u32) {
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let (from, until) = (today.saturating_sub(i64::from(days).days()), today.saturating_add(1.day()));
    let ask = |view| Ask::new(view, from, until);
    let all = |view| ask(view).application(EVERY_APPLICATION);
    let busiest = logs.usage(account, [ask(View::Day), all(View::Person)]).await.unwrap().tables;
    let [applications, people] = &busiest;
    let known = applications.iter().filter(|line| line.application > 0);
    let application = known.max_by_key(|line| line.measures.requests).map_or(0, |line| line.application);
    let person = people.iter().max_by_key(|line| line.measures.requests).map_or("", |line| &line.key);
    // As the pages ask, but for what they compare with, of which there is nothing.
    let by_status = Groups { of: [(NO_APPLICATION, 1)].into(), others: Some(0) };
    let overview = [
        ask(View::Day),
        all(View::Day),
        all(View::Day).over(Over::Days),
        ask(View::Day).over(Over::Days).measures_only().groups(by_status),
    ];
    let views = View::ALL.into_iter().filter(|view| *view != View::Hour).map(ask);
    let hours = ask(View::Hour).over(Over::Hours).measures_only();
    let one: Vec<Ask> = views.chain([hours, ask(View::Day).over(Over::Days)]).collect();
    let one: [Ask; 11] = one.try_into().unwrap();
    let one = one.map(|ask| ask.application(application));
    let theirs = [ask(View::Person).key(person), all(View::Person).key(person).over(Over::Days)];
    let name = format!("over {days} days");
    report(&format!("overview {name}"), async || logs.usage(account, overview.clone()).await.map(drop)).await;
    report(&format!("application {name}"), async || logs.usage(account, one.clone()).await.map(drop)).await;
    report(&format!("person {name}"), async || logs.usage(account, theirs.clone()).await.map(drop)).await;
    report(&format!("people {name}"), async || logs.usage(account, [all(View::Person)]).await.map(drop)).await;
}

/// Times a report five times and prints the slowest.
async fn report(name: &str, ask: impl AsyncFn() -> Result<(), logs::QueryError>) {
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let started = Instant::now();
        ask().await.unwrap();
        slowest = slowest.max(started.elapsed());
    }
    println!("report, {name}: {:.0} ms (at most 300)", slowest.as_secs_f64() * 1e3);
}

async fn measure() {
    if let Some(directory) = std::env::var_os("LAKE_DIRECTORY") {
        return measure_what_is_there(Path::new(&directory)).await;
    }
    let (rows, directory) = (rows_wanted(), tempfile::tempdir().unwrap());
    let account = AccountId(uuid::Uuid::from_u128(1));
    let plan = Plan { share: Share::WebOnly, ..Plan::last_days(account, Timestamp::now(), days(), rows) };
    let made = generate_alone(&plan);
    let before = resident();
    let ahead = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&ahead);
    let clock: logs::Clock =
        Arc::new(move || Timestamp::now() + jiff::SignedDuration::from_secs(clock.load(Ordering::Relaxed)));
    let logs = Logs::open(directory.path(), LogsConfig { clock, ..LogsConfig::default() }).await.unwrap();
    let (cpu, started) = (cpu_time(), Instant::now());
    let mut peak = 0;
    generate::append(&plan, &logs, |_| peak = peak.max(resident())).await.unwrap();
    let appended = started.elapsed();
    logs.settle().await.unwrap();
    let (wall, used) = (started.elapsed(), cpu_time().saturating_sub(cpu).saturating_sub(made.time));
    peak = peak.max(peak_resident());
    let rate = rows as f64 / used.as_secs_f64();
    println!("taking in: {rows} rows appended in {appended:.1?}, in Parquet after {wall:.1?}");
    println!(
        "taking in: {rate:.0} rows/s for a core, {:.2} us each (at least 150000)",
        used.as_secs_f64() * 1e6 / rows as f64
    );
    // Files that were merged stay for ten minutes, for the queries that read them.
    ahead.store(1_200, Ordering::Relaxed);
    logs.settle().await.unwrap();
    let (bytes, counts) = lake_bytes(&directory.path().join("lake"), false);
    println!("on disk: {:.1} bytes for a row (at most 45)", bytes as f64 / rows as f64);
    println!("on disk: {:.1} bytes for a row in counts of {} days", counts as f64 / rows as f64, days());
    let memory = peak.saturating_sub(before);
    println!(
        "memory: {:.0} MiB above the start, {:.3} of that of the rows, {:.0} bytes each (at most 0.2)",
        memory as f64 / 1048576.0,
        memory as f64 / made.bytes as f64,
        made.bytes as f64 / rows as f64
    );
    reports(&logs, account, days()).await;
    questions::compare(&logs, account, directory.path()).await;
    logs.shutdown().await;
}

async fn measure_what_is_there(directory: &Path) {
    let mut accounts = std::fs::read_dir(directory.join("lake")).unwrap();
    let account = accounts.find_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).unwrap();
    let logs = Logs::open(directory, LogsConfig { max_bytes: u64::MAX, ..LogsConfig::default() }).await.unwrap();
    let (bytes, counts) = lake_bytes(&directory.join("lake"), false);
    println!("on disk: {bytes} bytes, and {counts} in counts of {} days", days());
    reports(&logs, account, days()).await;
    questions::compare(&logs, account, directory).await;
    logs.shutdown().await;
}

/// What the records cost before anybody keeps them.
struct Made {
    time: Duration,
    /// Their memory, if they were all held.
    bytes: u64,
}

fn generate_alone(plan: &Plan) -> Made {
    let started = cpu_time();
    let mut generator = Generator::new(plan).unwrap();
    while generator.advance().is_some() {}
    let time = cpu_time().saturating_sub(started);
    let mut generator = Generator::new(plan).unwrap();
    let (mut bytes, mut seen) = (0, 0_u64);
    while let Some(mut lent) = generator.advance() {
        // A sample is enough: records of one kind are of a size.
        if seen.is_multiple_of(97) {
            bytes += lent.as_record().memory() as u64;
        }
        seen += 1;
        if seen > 97 * 2_000 {
            break;
        }
    }
    let sampled = seen.div_ceil(97).max(1);
    Made { time, bytes: bytes / sampled * plan.rows }
}

/// Bytes of records, and of the counts beside them.
fn lake_bytes(directory: &Path, counted: bool) -> (u64, u64) {
    let (mut records, mut counts) = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if path.is_dir() {
            let below = lake_bytes(&path, counted || path.ends_with("_usage"));
            (records, counts) = (records + below.0, counts + below.1);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            let bytes = entry.metadata().unwrap().len();
            if counted {
                counts += bytes;
            } else {
                records += bytes;
            }
        }
    }
    (records, counts)
}

fn cpu_time() -> Duration {
    let ticks = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(ticks.tv_sec.cast_unsigned(), u32::try_from(ticks.tv_nsec).unwrap())
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap_or_default() * 1024
}

fn resident() -> u64 {
    status("VmRSS:")
}

fn peak_resident() -> u64 {
    status("VmHWM:")
}

#[cfg(not(feature = "sql"))]
mod questions {
    pub(super) async fn compare(_: &logs::Logs, _: types::AccountId, _: &std::path::Path) {
        println!("built without SQL");
    }
}

#[cfg(feature = "sql")]
mod questions {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use logs::Logs;
    use logs::sql::{Bounds, Progress};
    use types::AccountId;

    /// Each in both dialects, which differ in little.
    const QUESTIONS: [(&str, &str); 4] = [
        (
            "top applications by people",
            "SELECT \"HTTPHost\", COUNT(DISTINCT \"Email\") AS people, COUNT(*) AS n FROM gateway_http GROUP BY 1 ORDER BY people DESC, n DESC, 1 LIMIT 20",
        ),
        (
            "distinct people by application and day",
            "SELECT date, \"HTTPHost\", COUNT(DISTINCT \"Email\") AS people FROM gateway_http GROUP BY 1, 2 ORDER BY people DESC, 1, 2 LIMIT 20",
        ),
        (
            "p95 of the time by host",
            "SELECT \"HTTPHost\", approx_quantile(\"DurationMicros\", 0.95) AS p95, COUNT(*) AS n FROM gateway_http GROUP BY 1 ORDER BY n DESC, 1 LIMIT 20",
        ),
        (
            "one person's newest requests",
            "SELECT \"Datetime\", \"URL\", \"Action\" FROM gateway_http WHERE \"Email\" = 'PERSON' ORDER BY 1 DESC LIMIT 100",
        ),
    ];
    const ROUNDS: usize = 3;

    pub(super) async fn compare(logs: &Logs, account: AccountId, directory: &Path) {
        let person = "SELECT \"Email\" FROM gateway_http WHERE \"Email\" <> '' GROUP BY 1 ORDER BY COUNT(*), 1 LIMIT 1";
        let person = ask(logs, account, person).await.1;
        let person = person[0]["Email"].as_str().unwrap().to_owned();
        let files = directory.join("lake").join(account.to_string()).join("gateway_http/date=*/*.parquet");
        for (name, sql) in QUESTIONS {
            let sql = sql.replace("PERSON", &person);
            let ours_sql = sql.replace("approx_quantile", "approx_percentile_cont");
            let mut ours = f64::MAX;
            for _ in 0..ROUNDS {
                ours = ours.min(ask(logs, account, &ours_sql).await.0);
            }
            match std::env::var_os("DUCKDB_PYTHON") {
                None => println!("{name}: {:.0} ms", ours * 1e3),
                Some(python) => {
                    let theirs = duckdb(&python, &files, &sql);
                    println!(
                        "{name}: {:.0} ms, DuckDB {:.0} ms: {:.2} of its time (at most 1.2)",
                        ours * 1e3,
                        theirs * 1e3,
                        ours / theirs
                    );
                }
            }
        }
    }

    type Rows = Vec<serde_json::Map<String, serde_json::Value>>;

    async fn ask(logs: &Logs, account: AccountId, sql: &str) -> (f64, Rows) {
        let started = Instant::now();
        let bounds = Bounds { memory: 4 << 30, time: Duration::from_secs(600), ..Bounds::default() };
        let answer = logs.sql(account, &logs::Dataset::ALL, sql, bounds, Arc::new(Progress::default())).await.unwrap();
        let elapsed = started.elapsed().as_secs_f64();
        (elapsed, answer.rows().unwrap())
    }

    /// Returns the shortest of some times in seconds.
    fn duckdb(python: &std::ffi::OsStr, files: &Path, sql: &str) -> f64 {
        let script = "\
import duckdb, sys, time
files, sql, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
db = duckdb.connect(config={'threads': 2, 'memory_limit': '4GB'})
db.execute('SET enable_progress_bar = false')
db.execute(f\"CREATE VIEW gateway_http AS SELECT * FROM read_parquet('{files}', hive_partitioning=true)\")
best = 1e9
for _ in range(rounds):
    start = time.perf_counter()
    db.execute(sql).fetchall()
    best = min(best, time.perf_counter() - start)
print(best)
";
        let output = Command::new(python)
            .args(["-c", script, &files.display().to_string(), sql, &ROUNDS.to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }
}
