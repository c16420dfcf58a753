//! What the platform takes without load, how soon it is there, and what its log holds.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::Platform;

use crate::measure::process::{self, kernel_figure, resident_kib};

const STARTS: usize = 9;
/// After this long a started platform has done what it does once.
const SETTLED: Duration = Duration::from_secs(5);

/// Starts the platform several times over one data directory, and looks at the memory of the last one once it is idle.
pub(crate) fn start_and_rest(binary: &Path, data: &Path) -> Result<()> {
    std::fs::create_dir_all(data)?;
    // On both cores, as a machine of its own would be.
    process::pin(std::process::id(), "0-1")?;
    // Creates the directory's contents, which is not what is measured.
    Platform::start_in(binary, data, &[])?.terminate()?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut platform = Platform::start_in(binary, data, &[])?;
        times.push(start.elapsed());
        platform.terminate()?;
    }
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "start to ready, existing data directory: median {:.0} ms (at most 300), slowest of {STARTS} {:.0} ms",
        median.as_secs_f64() * 1e3,
        most.as_secs_f64() * 1e3
    );
    let mut platform = Platform::start_in(binary, data, &[])?;
    std::thread::sleep(SETTLED);
    let mut total = 0;
    for member in process::family(platform.process_id())? {
        total += proportional_kib(member)?;
    }
    let main = resident_kib(platform.process_id())?;
    println!(
        "idle memory, every role, Worker processes included: {:.1} MB (at most 80), {:.1} MB resident in the main one",
        total as f64 / 1024.0,
        main as f64 / 1024.0
    );
    platform.terminate()?;
    process::pin(std::process::id(), "1")
}

/// How many records of `dataset` the platform has taken, once those on their way are in.
pub(crate) async fn records(platform: &Platform, dataset: &str) -> Result<u64> {
    let mut before = None;
    loop {
        let minutes = platform.api("GET", &format!("/portunus/logs/{dataset}/minutes"), None).await?;
        let minutes = minutes.as_array().context("minutes are not a list")?;
        let now: u64 = minutes.iter().filter_map(|minute| minute["records"].as_u64()).sum();
        if before == Some(now) {
            return Ok(now);
        }
        before = Some(now);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Resident memory in which a page that several processes share counts for each by its share.
fn proportional_kib(process: u32) -> Result<u64> {
    kernel_figure(&format!("/proc/{process}/smaps_rollup"), "Pss:")
}
