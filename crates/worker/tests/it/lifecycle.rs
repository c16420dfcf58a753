//! How processes start, are shared, replaced, evicted, and end.

use std::sync::Arc;
use std::time::Duration;

use portunus_worker::{CallErrorKind, Runtime, RuntimeConfig, StartError};

use crate::support::{PATIENCE, Recorder, call, fetch, hostile, request, script, text};

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_process_serves_many_calls_and_only_the_first_is_cold() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("warm", ""));
    let first = fetch(&runtime, &script, "ok").await.unwrap();
    assert!(first.report.cold);
    for _ in 0..20 {
        assert!(!fetch(&runtime, &script, "ok").await.unwrap().report.cold);
    }
    assert_eq!(runtime.stats().started, 1);
    assert_eq!(runtime.check(&script).await.unwrap(), ["fetch"]);
}

#[tokio::test]
async fn background_events_end_with_what_is_to_be_retried() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("background", ""));
    let host = Arc::new(Recorder::default());
    let finished = runtime.scheduled(&script, "* * * * *".into(), 1.0, call(&host)).await.unwrap();
    assert_eq!(finished.retry, ["again"]);
    let finished = runtime.queue(&script, "events".into(), vec![], call(&host)).await.unwrap();
    assert_eq!(finished.retry, ["again"]);
}

#[tokio::test]
async fn a_call_out_of_time_fails_and_its_process_lives_on() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("slow", ""));
    let pid = text(&runtime, &script, "pid").await.unwrap();
    let host = Arc::new(Recorder::default());
    let mut short = call(&host);
    short.timeout = Duration::from_millis(50);
    let error = runtime.fetch(&script, request("http://x.test/hang"), short).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Wall);
    assert_eq!(text(&runtime, &script, "pid").await.unwrap(), pid);
    assert_eq!(runtime.stats().calls_in_flight, 0);
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("dropped", ""));
    assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok");
    for _ in 0..300 {
        let hang = fetch(&runtime, &script, "hang");
        tokio::pin!(hang);
        assert!(futures_util::poll!(&mut hang).is_pending());
    }
    assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok");
    assert_eq!(runtime.stats().calls_in_flight, 0);
}

#[tokio::test]
async fn a_second_process_is_started_while_the_first_is_stuck() {
    let runtime = Runtime::start(RuntimeConfig { processes_per_worker: 2, ..hostile() }).await.unwrap();
    let mut slow = script("stuck", "");
    slow.limits.cpu_ms = 5_000;
    let slow = Arc::new(slow);
    assert_eq!(text(&runtime, &slow, "ok").await.unwrap(), "ok");
    let spin = fetch(&runtime, &slow, "resource/spin");
    tokio::pin!(spin);
    assert!(futures_util::poll!(&mut spin).is_pending());
    assert_eq!(text(&runtime, &slow, "ok").await.unwrap(), "ok", "served beside the stuck call");
    assert_eq!(runtime.stats().processes, 2);
}

#[tokio::test]
async fn the_least_recently_used_process_makes_room() {
    let runtime = Runtime::start(RuntimeConfig { max_processes: 2, ..hostile() }).await.unwrap();
    let scripts: Vec<_> = (0..3).map(|index| Arc::new(script(&format!("resident {index}"), ""))).collect();
    for script in &scripts {
        assert_eq!(text(&runtime, script, "ok").await.unwrap(), "ok");
        assert_eq!(text(&runtime, &scripts[0], "ok").await.unwrap(), "ok");
    }
    assert!(runtime.stats().processes <= 2);
    assert_eq!(runtime.stats().evicted, 1);
    assert!(!fetch(&runtime, &scripts[0], "ok").await.unwrap().report.cold, "the first was used all along");
    assert!(fetch(&runtime, &scripts[1], "ok").await.unwrap().report.cold, "the second was not");
}

#[tokio::test]
async fn when_every_place_is_busy_a_call_fails_and_does_not_wait_for_ever() {
    let runtime = Runtime::start(RuntimeConfig { max_processes: 1, ..hostile() }).await.unwrap();
    let (busy, other) = (Arc::new(script("busy", "")), Arc::new(script("other", "")));
    assert_eq!(text(&runtime, &busy, "ok").await.unwrap(), "ok");
    let hang = fetch(&runtime, &busy, "hang");
    tokio::pin!(hang);
    assert!(futures_util::poll!(&mut hang).is_pending());
    let host = Arc::new(Recorder::default());
    let mut short = call(&host);
    short.timeout = Duration::from_millis(100);
    let error = runtime.fetch(&other, request("http://x.test/ok"), short).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Overloaded, "{error}");
}

#[tokio::test]
async fn a_process_that_leaves_in_good_order_is_replaced_without_a_failed_call() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("spent", ""));
    for _ in 0..10 {
        assert_eq!(text(&runtime, &script, "spent").await.unwrap(), "last");
        assert_eq!(text(&runtime, &script, "ok").await.unwrap(), "ok");
    }
    assert_eq!(runtime.stats().crashed, 0);
}

#[tokio::test]
async fn repeated_crashes_are_backed_off_and_a_success_forgives_them() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("loop", ""));
    let mut kinds = Vec::new();
    for _ in 0..6 {
        kinds.push(fetch(&runtime, &script, "syscall/socket").await.unwrap_err().kind);
    }
    assert_eq!(kinds[..3], [CallErrorKind::Killed; 3]);
    assert!(kinds.contains(&CallErrorKind::Overloaded), "{kinds:?}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while fetch(&runtime, &script, "ok").await.is_err() {
        assert!(std::time::Instant::now() < deadline, "it is never tried again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fetch(&runtime, &script, "syscall/socket").await.unwrap_err().kind, CallErrorKind::Killed);
}

#[tokio::test]
async fn a_script_that_crashes_or_spins_while_loading_fails_its_call() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    for code in ["load:crash", "load:spin"] {
        let script = Arc::new(script(code, code));
        let error = fetch(&runtime, &script, "ok").await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Killed, "{code}: {error}");
    }
    assert_eq!(text(&runtime, &Arc::new(script("fine", "")), "ok").await.unwrap(), "ok");
}

#[tokio::test]
async fn retired_versions_end_with_their_last_call() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let (old, new) = (Arc::new(script("old", "")), Arc::new(script("new", "")));
    for script in [&old, &new] {
        assert_eq!(text(&runtime, script, "ok").await.unwrap(), "ok");
    }
    {
        let hang = fetch(&runtime, &old, "hang");
        tokio::pin!(hang);
        assert!(futures_util::poll!(&mut hang).is_pending());
        runtime.retain(|key| key.name == "new");
        assert!(futures_util::poll!(&mut hang).is_pending(), "the call in flight goes on");
        assert_eq!(runtime.stats().processes, 2);
    }
    until(|| runtime.stats().processes == 1).await;
    assert!(!fetch(&runtime, &new, "ok").await.unwrap().report.cold);
}

#[tokio::test]
async fn a_dead_zygote_is_replaced() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("zygote", ""));
    let pid: u32 = text(&runtime, &script, "pid").await.unwrap().parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let zygote: i32 = stat.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let zygote = rustix::process::Pid::from_raw(zygote).unwrap();
    rustix::process::kill_process(zygote, rustix::process::Signal::KILL).unwrap();
    until(|| !alive(pid)).await;
    until(|| runtime.stats().processes == 0).await;
    let mut answer = text(&runtime, &script, "ok").await;
    // The first call may still find the dying zygote.
    if answer.is_err() {
        answer = text(&runtime, &script, "ok").await;
    }
    assert_eq!(answer.unwrap(), "ok");
    assert_eq!(runtime.stats().zygote_starts, 2);
}

#[tokio::test]
async fn shutdown_lets_calls_end_and_leaves_no_process_behind() {
    let runtime = Arc::new(Runtime::start(hostile()).await.unwrap());
    let script = Arc::new(script("shutdown", ""));
    let pid: u32 = text(&runtime, &script, "pid").await.unwrap().parse().unwrap();
    let hang = fetch(&runtime, &script, "hang");
    tokio::pin!(hang);
    assert!(futures_util::poll!(&mut hang).is_pending());
    runtime.shutdown(Duration::from_millis(20)).await;
    assert_eq!(hang.await.unwrap_err().kind, CallErrorKind::Killed);
    let error = fetch(&runtime, &script, "ok").await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unavailable);
    until(|| !alive(pid)).await;
}

#[tokio::test]
async fn dropping_the_runtime_ends_every_process() {
    let runtime = Runtime::start(hostile()).await.unwrap();
    let script = Arc::new(script("drop", ""));
    let pid: u32 = text(&runtime, &script, "pid").await.unwrap().parse().unwrap();
    drop(runtime);
    until(|| !alive(pid)).await;
}

#[tokio::test]
async fn a_program_that_is_no_zygote_is_an_error_at_start() {
    let config = RuntimeConfig { executable: "/bin/true".into(), ..RuntimeConfig::default() };
    let Err(StartError::NotReady(message)) = Runtime::start(config).await else {
        panic!("it started");
    };
    assert!(message.contains("run_if_zygote"), "{message}");
    let config = RuntimeConfig { executable: "/nonexistent".into(), ..RuntimeConfig::default() };
    assert!(matches!(Runtime::start(config).await, Err(StartError::Spawn(_))));
}
