//! What the kernel says of a process, and how one is started, found and ended: shared by the benchmarks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Puts every thread of a process on `cores`, such as `0` or `0-1`.
pub(crate) fn pin(process: u32, cores: &str) -> Result<()> {
    // A thread that ends between the listing and its turn fails the whole call.
    for _ in 0..10 {
        let status = Command::new("taskset")
            .args(["--all-tasks", "--cpu-list", "--pid", cores, &process.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            return Ok(());
        }
    }
    bail!("cannot pin process {process} to core {cores}");
}

/// The same for a process and all its descendants.
pub(crate) fn pin_family(process: u32, cores: &str) -> Result<()> {
    family(process)?.into_iter().try_for_each(|member| pin(member, cores))
}

/// User and system time of processes, in seconds; one that has ended counts nothing.
pub(crate) fn cpu_seconds(members: &[u32]) -> f64 {
    let mut total = 0.0;
    for member in members {
        let Ok(text) = std::fs::read_to_string(format!("/proc/{member}/stat")) else { continue };
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        total += ticks / 100.0;
    }
    total
}

/// A process and its live descendants.
pub(crate) fn family(process: u32) -> Result<Vec<u32>> {
    let mut members = vec![process];
    let mut position = 0;
    while position < members.len() {
        let threads = std::fs::read_dir(format!("/proc/{}/task", members[position]));
        for thread in threads.into_iter().flatten() {
            let children = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
            members.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        position += 1;
    }
    Ok(members)
}

pub(crate) fn resident_kib(process: u32) -> Result<u64> {
    kernel_figure(&format!("/proc/{process}/status"), "VmRSS:")
}

pub(crate) fn kernel_figure(file: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in {file}"))?;
    Ok(line.split_whitespace().nth(1).context("no value")?.parse()?)
}

pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

pub(crate) fn await_listener(address: SocketAddr) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            bail!("nothing listens on {address}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

pub(crate) fn end(child: &mut Child) {
    // SIGTERM first: the helpers and workers of a peer end with it only then.
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    let _ = child.wait();
}
