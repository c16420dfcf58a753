//! Live sessions: what 100,000 of them take in memory, and how long finding one and asking the policies takes.
//!
//! People are a company's: each has an address and a name of their own, and some of sixty groups. The order in which
//! they ask is drawn over all of them, so that no cache holds who comes next. Memory is what the kernel says this
//! process has, with the allocator that the platform uses.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use access::SessionTable;
use identity::access_policy::{Policy, PolicyDocument};
use identity::evaluation::{Answer, Caller, Lookups, PolicySet, RequestContext, Verdict, WorkerWord};
use identity::group::Groups;
use identity::identity::{Gaps, GroupClaim, Identity, ProviderClaims};
use identity::provider::ProviderType;
use identity::selector::{ExternalEvaluation, WorkerQuestion};
use identity::session::{Moment, Session, SessionHash, SessionSecret};
use serde_json::{Value, json};
use types::{AccessPolicyId, Email, ListId, ProviderId, UserId};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PEOPLE: u32 = 100_000;
const GROUPS: u32 = 60;
const LOOKUPS: u32 = 1_000_000;
const PROVIDER: ProviderId = ProviderId(Uuid::from_u128(0x11));
const BEGAN: Moment = Moment(1_700_000_000_000);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let before = resident_kib()?;
    let sessions = SessionTable::new(1_000_000);
    for number in 0..PEOPLE {
        let session = Session::start(Arc::new(person(number)?), Arc::default(), Duration::from_secs(86_400), BEGAN);
        assert!(sessions.insert(hash(number), session), "there is no room");
    }
    let grown = resident_kib()?.saturating_sub(before);
    println!(
        "{} live sessions: {:.1} MB resident (at most 60), {:.0} bytes each",
        sessions.len(),
        grown as f64 / 1024.0,
        grown as f64 * 1024.0 / f64::from(PEOPLE)
    );
    let policies = policies()?;
    let mut times = Vec::with_capacity(LOOKUPS as usize);
    let mut drawn: u32 = 1;
    for _ in 0..LOOKUPS {
        // A linear congruential generator of full period (Knuth): everybody comes, in no order a cache could guess.
        drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let hash = hash(drawn % PEOPLE);
        let start = Instant::now();
        let verdict = ask(&sessions, &policies, hash);
        times.push(start.elapsed());
        assert!(matches!(verdict, Some(Verdict::Allow(_))), "{verdict:?}");
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("session lookup and policy check: p50 {:.2} us, p99 {:.2} us (at most 20)", at(0.50), at(0.99));
    Ok(())
}

/// What each request of somebody who is signed in is held against.
fn ask(sessions: &SessionTable, policies: &PolicySet, hash: SessionHash) -> Option<Verdict> {
    let live = sessions.find(hash, Some(Duration::from_secs(3_600)), Moment(BEGAN.0 + 1_000)).ok()?;
    let session = live.session();
    let context = RequestContext {
        ip: session.identity.ip,
        country: None,
        certificate: None,
        device: None,
        risk: None,
        request: None,
    };
    let caller = Caller { identity: Some(&session.identity), ..Caller::default() };
    Some(policies.evaluate(&caller, &context, &session.frozen.with(&NoLists), None))
}

/// No policy here names a list.
struct NoLists;

impl Lookups for NoLists {
    fn email_list(&self, _: ListId, _: &Email) -> Answer {
        Answer::Broken
    }

    fn ip_list(&self, _: ListId, _: IpAddr) -> Answer {
        Answer::Broken
    }

    fn external(&self, _: &ExternalEvaluation) -> Answer {
        Answer::Broken
    }

    fn worker(&self, _: &WorkerQuestion) -> Option<Arc<WorkerWord>> {
        None
    }
}

fn hash(number: u32) -> SessionHash {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    SessionSecret::of(bytes).hash()
}

fn person(number: u32) -> Result<Identity, Box<dyn std::error::Error>> {
    let group = |at: u32| {
        let name = format!("Department {}", (number * 7 + at * 13) % GROUPS);
        Arc::new(GroupClaim { id: format!("00g{name}").into(), name: name.into(), email: "".into() })
    };
    Ok(Identity {
        user: UserId(Uuid::from_u128(u128::from(number))),
        email: format!("given.family{number}@example.com").parse()?,
        name: format!("Given Family {number}").into(),
        provider: PROVIDER,
        provider_type: ProviderType::Oidc,
        signed_in: BEGAN.seconds(),
        ip: IpAddr::from(number.to_be_bytes()),
        country: Some(*b"DE"),
        amr: [Arc::from("pwd"), Arc::from("mfa")].into(),
        steps: [ProviderClaims {
            provider: PROVIDER,
            groups: (0..5).map(group).collect(),
            claims: [Arc::new(("department".into(), format!("{}", number % GROUPS).into()))].into(),
            gaps: Gaps::NONE,
        }]
        .into(),
    })
}

/// Policies as a company of some size has them: what denies comes first, and the one that admits is the last.
fn policies() -> Result<PolicySet, Box<dyn std::error::Error>> {
    let mut documents: Vec<Value> = vec![
        json!({"name": "Former staff", "decision": "deny", "include": [
            {"email": {"email": "eve@example.com"}}, {"email_domain": {"domain": "former.example"}}]}),
        json!({"name": "Abroad", "decision": "deny", "include": [{"ip": {"ip": "203.0.113.0/24"}}]}),
    ];
    for number in 0..7 {
        documents.push(json!({"name": format!("Partner {number}"), "decision": "allow",
            "include": [{"email_domain": {"domain": format!("partner{number}.example")}}]}));
    }
    documents.push(json!({"name": "Staff", "decision": "allow",
        "include": [{"email_domain": {"domain": "example.com"}}],
        "exclude": [{"ip": {"ip": "198.51.100.0/24"}}, {"email": {"email": "mallory@example.com"}}]}));
    let policies = documents.iter().enumerate().map(|(index, document)| {
        let id = AccessPolicyId(Uuid::from_u128(index as u128));
        let document = PolicyDocument::read(document).map_err(|error| format!("{error:?}"))?;
        Policy::parse(id, &document).map_err(|error| format!("{error:?}"))
    });
    let policies = policies.collect::<Result<Vec<_>, String>>()?;
    let set = PolicySet::compile(policies, &Groups::default(), &());
    assert!(set.faults().is_empty(), "{:?}", set.faults());
    Ok(set)
}

fn resident_kib() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse()?)
}
