//! Push jobs get every record of their account in order, at least once, whatever is killed when, and the room for what they
//! have not read is bounded.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use logs::{
    Dataset, ErasureState, GatewayHttp, Logs, LogsConfig, Person, PushBatch, PushSink, Query, WorkerInvocation,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::fixture::{TestClock, account, config, open, request, run};

const JOB: Uuid = Uuid::from_u128(0x10b);
const HTTP: Dataset = Dataset::GatewayHttp;
/// Tells this test, started again as a child, to write and to push in the given directory.
const CHILD: &str = "PORTUNUS_TEST_CRASH_PUSHER";

/// Takes so many records.
struct Taker {
    most: usize,
    ids: Vec<Uuid>,
    actions: Vec<String>,
}

impl PushSink for Taker {
    fn take(&mut self, id: Uuid, fields: &Map<String, Value>) {
        self.ids.push(id);
        self.actions.push(fields.get("Action").and_then(Value::as_str).unwrap_or_default().to_owned());
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= self.most
    }

    fn records(&self) -> u64 {
        self.ids.len() as u64
    }
}

async fn read(logs: &Logs, job: Uuid, most: usize) -> (Vec<Uuid>, PushBatch) {
    let (sink, batch) = logs.push_read(job, Taker { most, ids: Vec::new(), actions: Vec::new() }).await.unwrap();
    (sink.ids, batch)
}

/// Reads and takes everything there is.
async fn drain(logs: &Logs, job: Uuid) -> Vec<Uuid> {
    let mut all = Vec::new();
    loop {
        let (ids, batch) = read(logs, job, 100).await;
        logs.push_done(job, &batch, ids.len() as u64).unwrap();
        all.extend(ids);
        if !batch.more {
            return all;
        }
    }
}

async fn append(logs: &Logs, records: impl IntoIterator<Item = GatewayHttp>) -> Vec<Uuid> {
    let (mut ids, mut last) = (Vec::new(), None);
    for record in records {
        ids.push(record.id);
        last = Some(logs.append(record).await.unwrap());
    }
    logs.written(last.unwrap()).await.unwrap();
    ids
}

#[test]
fn a_job_gets_what_comes_after_it_was_made_of_its_account_alone_in_order() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        append(&logs, (0..10).map(|second| request(second, "before"))).await;
        logs.push_begin(JOB, account(1), HTTP).unwrap();
        let foreign = |second| GatewayHttp { account_id: account(2).to_string(), ..request(second, "foreign") };
        let mut ids = Vec::new();
        for second in 0..50 {
            append(&logs, [foreign(second)]).await;
            ids.extend(append(&logs, [request(second, "mine")]).await);
        }
        let worker = WorkerInvocation { account_id: account(1).to_string(), ..WorkerInvocation::default() };
        logs.append(worker).await.unwrap();
        let (first, batch) = read(&logs, JOB, 20).await;
        assert_eq!((first.as_slice(), batch.more), (&ids[..20], true));
        logs.push_done(JOB, &batch, 20).unwrap();
        assert_eq!(drain(&logs, JOB).await, ids[20..]);
        let standing = logs.push_standing(JOB).unwrap();
        assert_eq!((standing.behind_records, standing.sent_records), (0, 50));
        // Made again, it stays where it is.
        logs.push_begin(JOB, account(1), HTTP).unwrap();
        assert!(drain(&logs, JOB).await.is_empty());
        // Another account's list of jobs does not concern it.
        logs.push_only(account(2), &[]);
        assert!(logs.push_standing(JOB).is_some());
        logs.push_only(account(1), &[]);
        assert!(
            logs.push_standing(JOB).is_none()
                && logs.push_read(JOB, Taker { most: 1, ids: vec![], actions: vec![] }).await.is_err()
        );
        logs.shutdown().await;
    });
}

#[test]
fn a_batch_that_was_begun_is_the_same_until_it_arrived() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        logs.push_begin(JOB, account(1), HTTP).unwrap();
        let ids = append(&logs, (0..30).map(|second| request(second, "a"))).await;
        let (first, batch) = read(&logs, JOB, 10).await;
        assert_eq!(first, ids[..10]);
        logs.push_failed(JOB, "the destination answered 503").unwrap();
        logs.shutdown().await;
        drop(logs);

        let logs = open(directory.path()).await;
        let standing = logs.push_standing(JOB).unwrap();
        assert_eq!(standing.error, "the destination answered 503");
        assert!(standing.failing_since.is_some());
        append(&logs, (0..30).map(|second| request(second, "b"))).await;
        // The lake takes the segment over meanwhile, and the sink would take more.
        logs.settle().await.unwrap();
        let (again, same) = read(&logs, JOB, 1_000).await;
        assert_eq!((again, &same.id, same.end), (first, &batch.id, batch.end));
        // Unless the receiver said that it is too large.
        logs.push_split(JOB).unwrap();
        let (smaller, part) = read(&logs, JOB, 3).await;
        assert_eq!(smaller, ids[..3]);
        logs.push_done(JOB, &part, 3).unwrap();
        assert_eq!(logs.push_standing(JOB).unwrap().error, "");
        let (next, other) = read(&logs, JOB, 5).await;
        assert_eq!(next, ids[3..8]);
        assert_ne!(other.id, batch.id);
        logs.shutdown().await;
    });
}

#[test]
fn what_the_lake_took_over_is_kept_until_it_arrived_and_no_query_sees_it_twice() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let small = LogsConfig { segment_bytes: 20_000, ..config(&TestClock::new()) };
        let logs = Logs::open(directory.path(), small.clone()).await.unwrap();
        logs.push_begin(JOB, account(1), HTTP).unwrap();
        let mut ids = append(&logs, (0..500).map(|second| request(second, "a"))).await;
        logs.settle().await.unwrap();
        ids.extend(append(&logs, (0..10).map(|second| request(second, "b"))).await);
        let held = logs.push_held().0;
        assert!(held > 20_000, "{held}");
        let page = logs.query(Query { limit: 1_000, ..Query::newest(account(1), HTTP) }).await.unwrap();
        assert_eq!(page.entries.len(), ids.len());
        let standing = logs.push_standing(JOB).unwrap();
        assert_eq!(standing.behind_records, ids.len() as u64);
        assert_eq!(standing.behind_since, Some(request(0, "a").datetime));
        logs.shutdown().await;
        drop(logs);

        let logs = Logs::open(directory.path(), small).await.unwrap();
        assert_eq!(logs.push_held().0, held);
        assert_eq!(drain(&logs, JOB).await, ids);
        assert_eq!(logs.push_held().0, 0);
        let left = std::fs::read_dir(directory.path().join("held/gateway_http")).unwrap().count();
        assert_eq!(left, 0);
        logs.shutdown().await;
    });
}

#[test]
fn beyond_the_bound_the_oldest_go_and_the_job_says_which() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let small = LogsConfig { segment_bytes: 20_000, max_held_bytes: 60_000, ..config(&TestClock::new()) };
        let logs = Logs::open(directory.path(), small).await.unwrap();
        logs.push_begin(JOB, account(1), HTTP).unwrap();
        let other = Uuid::from_u128(2);
        logs.push_begin(other, account(2), HTTP).unwrap();
        let mut ids = append(&logs, (0..20).map(|second| request(second, "a"))).await;
        let (sent, batch) = read(&logs, JOB, 20).await;
        logs.push_done(JOB, &batch, sent.len() as u64).unwrap();
        ids.extend(append(&logs, (20..1_500).map(|second| request(second, "a"))).await);
        logs.settle().await.unwrap();
        let (held, most) = logs.push_held();
        assert!(held <= most, "{held}");
        let gaps = logs.push_standing(JOB).unwrap().gaps;
        // What follows each other is one gap.
        let [gap] = gaps.as_slice() else { panic!("{gaps:?}") };
        assert!(logs.push_standing(other).unwrap().gaps.is_empty(), "it lost nothing of its own");
        let rest = drain(&logs, JOB).await;
        assert_eq!(20 + gap.records as usize + rest.len(), ids.len());
        assert_eq!(rest, ids[ids.len() - rest.len()..]);
        assert_eq!(gap.from, request(20, "a").datetime);
        assert_eq!(gap.until, request(19 + gap.records as i64, "a").datetime);
        // The lake has them, and delivers them when it is asked to.
        let until = gap.until.checked_add(jiff::SignedDuration::from_millis(1)).unwrap();
        logs.push_deliver(JOB, gap.from, until).unwrap();
        let mut made_up_for = BTreeSet::new();
        while let Some((sink, past)) =
            logs.push_read_past(JOB, Taker { most: 200, ids: Vec::new(), actions: Vec::new() }).await.unwrap()
        {
            let again = logs.push_read_past(JOB, Taker { most: 200, ids: Vec::new(), actions: Vec::new() });
            let (same, of_it) = again.await.unwrap().unwrap();
            assert_eq!((same.ids, &of_it), (sink.ids.clone(), &past));
            logs.push_past_done(JOB, &past, sink.ids.len() as u64).unwrap();
            made_up_for.extend(sink.ids);
        }
        let missed: BTreeSet<_> = ids[20..ids.len() - rest.len()].iter().copied().collect();
        assert_eq!(made_up_for, missed);
        assert!(logs.push_standing(JOB).unwrap().gaps.is_empty());
        let page = logs.query(Query {
            limit: 1_000,
            until: Some(request(1_000, "a").datetime),
            ..Query::newest(account(1), HTTP)
        });
        assert_eq!(page.await.unwrap().entries.len(), 1_000);
        logs.shutdown().await;
    });
}

#[test]
fn what_is_erased_is_not_pushed_afterwards() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let logs = Logs::open(directory.path(), config(&clock)).await.unwrap();
        logs.push_begin(JOB, account(1), HTTP).unwrap();
        let of = |email: &str, second| GatewayHttp { email: email.to_owned(), ..request(second, "a") };
        let mut theirs = Vec::new();
        for second in 0..20 {
            theirs.extend(append(&logs, [of("ada@example.com", second)]).await);
            append(&logs, [of("bob@example.com", second)]).await;
        }
        clock.advance(Duration::from_secs(100));
        let person = Person { email: "Ada@example.com".to_owned(), ids: Vec::new() };
        logs.erase(account(1), person).await.unwrap();
        while logs
            .erasures(account(1))
            .iter()
            .any(|one| matches!(one.state, ErasureState::Waiting | ErasureState::Running))
        {
            tokio::task::yield_now().await;
        }
        let later = append(&logs, [of("ada@example.com", 200)]).await;
        let pushed = drain(&logs, JOB).await;
        assert_eq!(pushed.len(), 21);
        assert!(theirs.iter().all(|id| !pushed.contains(id)) && pushed.contains(&later[0]));
        logs.shutdown().await;
    });
}

/// The child appends, pushes to a file, and prints an id once the journal says it is written. Whatever of it is killed when,
/// the file has every id in the end.
#[test]
fn a_killed_process_pushes_everything_that_was_written() {
    if let Some(directory) = std::env::var_os(CHILD) {
        run(append_and_push_until_killed(directory.as_ref()));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..6 {
        let wanted = 3 + round * 17;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "push::a_killed_process_pushes_everything_that_was_written", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child ended by itself").unwrap();
            if let Some(ids) = line.strip_prefix("written ") {
                written.extend(ids.split(' ').map(|id| id.parse::<Uuid>().unwrap()));
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run(async {
        let logs = open(directory.path()).await;
        let mut received: BTreeSet<Uuid> = received(directory.path()).into_iter().collect();
        assert!(!received.is_empty(), "nothing was pushed before a kill");
        received.extend(drain(&logs, JOB).await);
        let missing = written.iter().filter(|id| !received.contains(id)).count();
        assert_eq!(missing, 0, "of {} written", written.len());
        assert_eq!(logs.push_held().0, 0);
        logs.shutdown().await;
    });
}

fn received(directory: &Path) -> Vec<Uuid> {
    let text = std::fs::read_to_string(directory.join("received.txt")).unwrap();
    // The last line may be torn.
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

async fn append_and_push_until_killed(directory: &Path) {
    let logs = Logs::open(directory, LogsConfig { segment_bytes: 60_000, ..LogsConfig::default() }).await.unwrap();
    logs.push_begin(JOB, account(1), HTTP).unwrap();
    let pushing = logs.clone();
    let file = directory.join("received.txt");
    let mut tasks = tokio::task::JoinSet::new();
    let pusher = tasks.spawn(async move {
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        loop {
            let (ids, batch) = read(&pushing, JOB, 70).await;
            let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
            file.write_all(text.as_bytes()).unwrap();
            pushing.push_done(JOB, &batch, ids.len() as u64).unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut out = std::io::stdout();
    while !pusher.is_finished() {
        let ids =
            append(&logs, (0..40).map(|_| GatewayHttp { datetime: jiff::Timestamp::now(), ..request(0, "a") })).await;
        let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
        writeln!(out, "written {}", ids.join(" ")).unwrap();
        out.flush().unwrap();
    }
}
