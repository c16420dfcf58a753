//! Programs that behave and that do not, run for real: shells of this system, in their walls.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use programs::{End, Limits, Process, Program, Programs, Settings, StartError};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use types::Secret;

const PATIENCE: Duration = Duration::from_secs(20);

struct Ground {
    programs: Programs,
    directory: tempfile::TempDir,
}

fn ground(change: impl FnOnce(&mut Settings)) -> Ground {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings {
        launcher: env!("CARGO_BIN_EXE_portunus-programs-launcher").into(),
        homes: directory.path().join("programs"),
        read: Vec::new(),
        write: Vec::new(),
        limits: Limits::default(),
        idle: Duration::from_secs(600),
    };
    // What a test binary was built with may lie anywhere.
    change(&mut settings);
    Ground { programs: Programs::new(settings).unwrap(), directory }
}

fn shell(script: &str) -> Program {
    Program { command: "sh".into(), args: vec!["-c".into(), script.into()], env: Vec::new() }
}

fn lines(output: pipe::Receiver) -> Lines<BufReader<pipe::Receiver>> {
    BufReader::new(output).lines()
}

async fn next(lines: &mut Lines<BufReader<pipe::Receiver>>) -> Option<String> {
    tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let last = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < last, "it did not come to pass");
        tokio::task::yield_now().await;
    }
}

fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

#[tokio::test]
async fn a_program_has_its_variables_and_a_home_and_nothing_of_the_hosts_environment() {
    let ground = ground(|_| {});
    let env = vec![("TOKEN".to_owned(), Secret::new("s3cret-value".to_owned()))];
    let program = Program { env, ..shell("env; pwd; exec cat") };
    let Process { mut input, output, handle } = ground.programs.start("a", "ana", &program).await.unwrap();
    let mut lines = lines(output);
    let mut seen = Vec::new();
    loop {
        let line = next(&mut lines).await.unwrap();
        if line.starts_with('/') {
            seen.push(line);
            break;
        }
        seen.push(line);
    }
    let home = PathBuf::from(seen.last().unwrap());
    assert!(home.starts_with(ground.directory.path().canonicalize().unwrap()), "{seen:?}");
    let names: Vec<&str> = seen.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"TOKEN") && names.contains(&"PATH") && names.contains(&"HOME"), "{seen:?}");
    let known = ["TOKEN", "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PWD", "SHLVL", "_", "OLDPWD"];
    assert!(names.iter().all(|name| known.contains(name)), "{seen:?}");
    input.write_all(b"hello\n").await.unwrap();
    assert_eq!(next(&mut lines).await.unwrap(), "hello");
    drop(handle);
    assert_eq!(next(&mut lines).await, None);
    until(|| !home.exists()).await;
    ground.programs.close().await;
}

#[tokio::test]
async fn a_program_cannot_read_or_write_beyond_what_it_was_given() {
    let given = tempfile::tempdir().unwrap();
    std::fs::write(given.path().join("note"), "given").unwrap();
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("key"), "secret").unwrap();
    let ground = ground(|settings| settings.read = vec![given.path().to_owned()]);
    let script = format!(
        "cat {given}/note; echo; cat {host}/key 2>/dev/null || echo closed; \
         (echo x > {given}/note) 2>/dev/null || echo read-only; echo x > $TMPDIR/own && cat $TMPDIR/own; \
         kill -0 {pid} 2>/dev/null || echo no signals; cat /proc/{pid}/environ >/dev/null 2>&1 || echo no tracing",
        given = given.path().display(),
        host = host.path().display(),
        pid = std::process::id(),
    );
    let process = ground.programs.start("a", "ana", &shell(&script)).await.unwrap();
    let mut lines = lines(process.output);
    for expected in ["given", "closed", "read-only", "x", "no signals", "no tracing"] {
        assert_eq!(next(&mut lines).await.as_deref(), Some(expected));
    }
    ground.programs.close().await;
}

#[tokio::test]
async fn everything_a_program_started_ends_with_it_whatever_it_did_to_stay() {
    let ground = ground(|_| {});
    // One in its group, one that ignores signals, one that left for a session of its own.
    let script = "sleep 1000 & echo $!; sh -c 'trap \"\" TERM HUP; sleep 1000' & echo $!; \
                  setsid sh -c 'sleep 1000 & echo $!; wait' & exec cat";
    for told in [true, false] {
        let process = ground.programs.start("a", "ana", &shell(script)).await.unwrap();
        let mut lines = lines(process.output);
        let mut pids = Vec::new();
        for _ in 0..3 {
            pids.push(next(&mut lines).await.unwrap());
        }
        assert!(pids.iter().all(|pid| is_there(pid)));
        if told {
            drop(process.handle);
        } else {
            // `cat` ends by itself.
            drop(process.input);
        }
        until(|| !pids.iter().any(|pid| is_there(pid))).await;
    }
    until(|| ground.programs.running() == 0).await;
    ground.programs.close().await;
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let ground = ground(|_| {});
    let program = shell("sleep 1000 & exec cat");
    let given_up = tokio::time::timeout(Duration::ZERO, ground.programs.start("a", "ana", &program)).await;
    assert!(given_up.is_err());
    ground.programs.close().await;
    assert_eq!(ground.programs.running(), 0);
    assert_eq!(std::fs::read_dir(ground.directory.path().join("programs")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_family_beyond_its_bounds_is_ended_and_says_which() {
    let ground = ground(|settings| settings.limits = Limits { processes: 24, memory: 64 << 20, ..Limits::default() });
    for (script, end) in [
        ("for i in $(seq 30); do sleep 1000 & done; exec cat", End::Processes(24)),
        (
            // Each is well within what one process may have.
            "hold() { x=$(head -c 20000000 /dev/zero | tr '\\0' x); sleep 1000; }; hold & hold & hold & hold & exec cat",
            End::Memory(64 << 20),
        ),
    ] {
        let process = ground.programs.start(script, "ana", &shell(script)).await.unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, process.handle.ended()).await.unwrap(), end);
    }
    ground.programs.close().await;
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_not_started_again_right_away_and_its_last_words_are_told() {
    let ground = ground(|_| {});
    let env = vec![("TOKEN".to_owned(), Secret::new("s3cret-value".to_owned()))];
    let program = Program { env, ..shell("echo \"no such account: $TOKEN\" >&2; exit 3") };
    let process = ground.programs.start("a", "ana", &program).await.unwrap();
    until(|| process.handle.end().is_some() && ground.programs.running() == 0).await;
    assert_eq!(process.handle.end(), Some(End::Exited(3)));
    until(|| process.handle.said() == "no such account: •••").await;
    let again = ground.programs.start("a", "ana", &program).await.unwrap_err();
    let StartError::Pause { times: 1, why, .. } = again else { panic!("{again}") };
    assert!(why.contains("ended with code 3"), "{why}");
    // Another program, such as the one after a correction, is tried at once.
    let Process { handle, .. } = ground.programs.start("a", "ana", &shell("exec cat")).await.unwrap();
    ground.programs.served("a", &handle);
    let nowhere = Program { command: "no-such-program".into(), args: Vec::new(), env: Vec::new() };
    let missing = ground.programs.start("b", "ana", &nowhere).await.unwrap_err();
    assert!(missing.to_string().contains("no-such-program cannot be run"), "{missing}");
    ground.programs.close().await;
}

#[tokio::test]
async fn processes_without_work_are_ended_and_make_room() {
    let ground = ground(|settings| settings.idle = Duration::from_millis(300));
    let process = ground.programs.start("a", "ana", &shell("exec cat")).await.unwrap();
    let working = process.handle.work();
    let second = ground.programs.start("a", "ana", &shell("exec cat")).await.unwrap();
    until(|| second.handle.end() == Some(End::Stopped)).await;
    assert_eq!(process.handle.end(), None);
    drop(working);
    until(|| process.handle.end() == Some(End::Stopped)).await;
    ground.programs.close().await;
    assert_eq!(ground.programs.start("a", "ana", &shell("cat")).await.unwrap_err(), StartError::Closed);
}

#[tokio::test]
async fn a_server_has_a_bounded_number_of_processes_and_the_idle_make_room() {
    let ground = ground(|_| {});
    let mut kept = Vec::new();
    for number in 0..32 {
        let owner = format!("person {}", number / 8);
        let process = ground.programs.start("a", &owner, &shell("exec cat")).await.unwrap();
        ground.programs.served("a", &process.handle);
        let working = process.handle.work();
        kept.push((process, Some(working)));
    }
    assert_eq!(ground.programs.start("a", "ana", &shell("exec cat")).await.unwrap_err(), StartError::Busy);
    kept[7].1 = None;
    // Whoever has as many as one may makes room among their own alone.
    assert_eq!(ground.programs.start("a", "person 1", &shell("exec cat")).await.unwrap_err(), StartError::Busy);
    let _one_more = ground.programs.start("a", "ana", &shell("exec cat")).await.unwrap();
    until(|| kept[7].0.handle.end() == Some(End::Stopped)).await;
    ground.programs.close().await;
}
