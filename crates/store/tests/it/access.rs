//! What every backend promises about Access: applications with their policies, sealed members, sessions, revocations,
//! logins, mail and OAuth records.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use store::{
    AccessPolicy, AccessSession, Administer, AppSession, Application, Approval, Change, Factor, GRANTS_KEPT, HashId,
    Kind, MAILS_KEPT, MailStatus, NewMail, OauthGrant, Operate, Provider, ReadUsers, Revoked, SESSIONS_KEPT,
    StoreError, Tag, WriteAccess, WriteIdentity, WriteUsers,
};
use types::{AccessPolicyId, ApplicationId, Code, FactorId, ProviderId, Secret, UserId};
use uuid::Uuid;

use crate::fixture::{Fixture, grant, run, store_suite};

store_suite! {
    an_application_and_its_own_policies_live_and_die_together,
    a_tag_is_one_segment_of_a_path,
    a_providers_secret_opens_in_its_place_for_the_system_only,
    a_session_and_what_hangs_on_it_end_together,
    one_person_keeps_a_bounded_number_of_sessions,
    the_latest_revocation_holds_and_is_told,
    a_login_is_redeemed_once_and_in_time,
    a_login_is_changed_over_what_was_read_and_the_newest_of_its_id_counts,
    a_request_for_approval_is_kept_with_its_mail_and_answered_over_what_was_read,
    mail_waits_is_claimed_by_one_and_is_swept,
    what_has_ended_is_swept_and_the_rest_stays,
    a_change_says_which_revision_it_made,
    a_request_is_answered_by_one_grant_and_a_grant_is_written_over_what_was_read,
    the_oldest_grants_of_a_person_give_way_and_every_node_hears_of_it,
    a_state_that_nodes_share_is_kept_over_what_was_read,
    grants_end_with_their_session_and_their_person,
    a_persons_factors_are_reset_together,
}

fn hash(text: &str) -> HashId {
    HashId::of(text.as_bytes())
}

fn user(number: u128) -> UserId {
    UserId(Uuid::from_u128(number))
}

fn app_id(number: u128) -> ApplicationId {
    ApplicationId(Uuid::from_u128(number))
}

fn policy_id(number: u128) -> AccessPolicyId {
    AccessPolicyId(Uuid::from_u128(number))
}

fn application(name: &str) -> Application {
    Application { name: name.to_owned(), aud: hash(name).to_string(), body: json!({"name": name, "policies": []}) }
}

fn policy(application: Option<ApplicationId>) -> AccessPolicy {
    AccessPolicy { name: "p".to_owned(), application, body: json!({"decision": "allow"}) }
}

async fn an_application_and_its_own_policies_live_and_die_together(f: &Fixture) {
    let (applications, policies, grant) = (f.store.applications(), f.store.access_policies(), grant::<WriteAccess>());
    policies.create(&grant, policy_id(9), policy(None)).await.unwrap();
    let own = vec![(policy_id(1), policy(Some(app_id(1)))), (policy_id(2), policy(Some(app_id(1))))];
    let foreign = vec![(policy_id(3), policy(Some(app_id(2))))];
    let save = |expected, own, dropped| {
        let grant = grant.clone();
        async move { applications.save_with_policies(&grant, app_id(1), application("wiki"), expected, own, dropped).await }
    };
    assert_eq!(save(None, foreign, vec![]).await.unwrap_err().code(), Code::InvalidInput);
    let saved = save(None, own, vec![]).await.unwrap();
    assert_eq!(save(None, vec![], vec![]).await.unwrap_err().code(), Code::Conflict);
    save(Some(saved.revision), vec![], vec![policy_id(2)]).await.unwrap();
    let late = vec![(policy_id(4), policy(Some(app_id(1))))];
    assert_eq!(save(Some(saved.revision), late, vec![policy_id(1)]).await.unwrap_err().code(), Code::Stale);
    let ids = |found: Vec<store::Stored<AccessPolicy>>| found.iter().map(|p| p.id.0.as_u128()).collect::<Vec<_>>();
    assert_eq!(ids(policies.list_of(&grant, app_id(1)).await.unwrap()), [1]);
    applications.delete_with_policies(&grant, app_id(1), None).await.unwrap();
    assert_eq!(ids(policies.list(&grant).await.unwrap()), [9]);
}

async fn a_tag_is_one_segment_of_a_path(f: &Fixture) {
    let (tags, grant) = (f.store.tags(), grant::<WriteAccess>());
    tags.create(&grant, "engineering tools".parse().unwrap(), Tag {}).await.unwrap();
    assert!(tags.get(&grant, &"engineering tools".parse().unwrap()).await.unwrap().is_some());
    for bad in ["", " ", "a/b", "a\\b", "..", "a\0", &"x".repeat(65)] {
        assert!(bad.parse::<store::TagName>().is_err(), "{bad:?}");
    }
}

async fn a_providers_secret_opens_in_its_place_for_the_system_only(f: &Fixture) {
    let (providers, write, operate) = (f.store.providers(), grant::<WriteIdentity>(), grant::<Operate>());
    let id = |number| ProviderId(Uuid::from_u128(number));
    let sealed = providers.seal_member(&write, &id(1), "client_secret", &Secret::new("hush".to_owned())).unwrap();
    let provider = |name: &str| Provider {
        name: "Okta".to_owned(),
        body: json!({"type": "okta"}),
        secrets: BTreeMap::from([(name.to_owned(), sealed.clone())]),
        scim_secret_hash: None,
    };
    let mut stored = providers.create(&write, id(1), provider("client_secret")).await.unwrap();
    assert!(!serde_json::to_string(&stored.document).unwrap().contains("hush"));
    assert_eq!(providers.open_members(&operate, &mut stored).unwrap()["client_secret"].expose(), "hush");
    let mut moved = providers.create(&write, id(2), provider("client_secret")).await.unwrap();
    assert!(matches!(providers.open_members(&operate, &mut moved), Err(StoreError::Seal(_))));
    let mut renamed = providers.replace(&write, id(1), provider("other"), None).await.unwrap();
    assert!(matches!(providers.open_members(&operate, &mut renamed), Err(StoreError::Seal(_))));
}

fn session(f: &Fixture, owner: u128, seconds: u64) -> AccessSession {
    AccessSession {
        user: user(owner),
        nonce: "n".to_owned(),
        issued_at: f.clock.now(),
        expires_at: f.clock.now() + Duration::from_secs(seconds),
        user_agent: String::new(),
        ip: String::new(),
        state: json!({}),
    }
}

fn app_session(f: &Fixture, parent: HashId, seconds: u64) -> AppSession {
    AppSession {
        session: parent,
        application: app_id(1),
        policy: policy_id(1),
        issued_at: f.clock.now(),
        expires_at: f.clock.now() + Duration::from_secs(seconds),
        binding: None,
    }
}

async fn a_session_and_what_hangs_on_it_end_together(f: &Fixture) {
    let (write, operate) = (grant::<WriteUsers>(), grant::<Operate>());
    let (sessions, apps) = (f.store.access_sessions(), f.store.app_sessions());
    for (name, owner) in [("a", 1), ("b", 1), ("c", 2)] {
        sessions.start(&write, hash(name), session(f, owner, 100)).await.unwrap();
        let app = format!("app of {name}");
        apps.start(&write, hash(&app), app_session(f, hash(name), 100)).await.unwrap();
    }
    sessions.end(&operate, hash("a")).await.unwrap();
    sessions.end(&operate, hash("never was")).await.unwrap();
    assert_eq!(sessions.get(&write, &hash("a")).await.unwrap(), None);
    assert_eq!(apps.get(&write, &hash("app of a")).await.unwrap(), None);
    assert!(f.store.revocations().get(&write, &Revoked::Session(hash("a"))).await.unwrap().is_some());
    assert_eq!(sessions.list_of(&write, user(1)).await.unwrap().len(), 1);
    sessions.end_all(&operate, user(1)).await.unwrap();
    let left: Vec<_> = sessions.list(&write).await.unwrap().iter().map(|session| session.id).collect();
    assert_eq!(left, [hash("c")]);
    assert_eq!(apps.list(&write).await.unwrap().len(), 1);
    assert!(f.store.revocations().get(&write, &Revoked::User(user(1))).await.unwrap().is_some());
}

async fn one_person_keeps_a_bounded_number_of_sessions(f: &Fixture) {
    let (sessions, grant) = (f.store.access_sessions(), grant::<WriteUsers>());
    sessions.start(&grant, hash("other"), session(f, 2, 100)).await.unwrap();
    for number in 0..=SESSIONS_KEPT {
        f.clock.advance(Duration::from_secs(1));
        sessions.start(&grant, hash(&number.to_string()), session(f, 1, 100)).await.unwrap();
    }
    assert_eq!(sessions.list_of(&grant, user(1)).await.unwrap().len(), SESSIONS_KEPT);
    assert_eq!(sessions.get(&grant, &hash("0")).await.unwrap(), None);
    assert!(sessions.get(&grant, &hash(&SESSIONS_KEPT.to_string())).await.unwrap().is_some());
    assert_eq!(sessions.list(&grant).await.unwrap().len(), SESSIONS_KEPT + 1);
}

async fn the_latest_revocation_holds_and_is_told(f: &Fixture) {
    let mut feed = f.store.changes().await.unwrap();
    let what = Revoked::Application(app_id(7));
    let mut revokers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = f.store.clone();
        revokers.spawn(async move { store.revocations().revoke(&grant(), what).await.unwrap() });
    }
    let first = revokers.join_all().await;
    assert!(first.iter().all(|revoked| revoked.document.at == f.clock.now()));
    f.clock.advance(Duration::from_secs(5));
    f.store.revocations().revoke(&grant(), what).await.unwrap();
    let standing = f.store.revocations().get(&grant::<ReadUsers>(), &what).await.unwrap().unwrap();
    assert_eq!(standing.document.at, f.clock.now());
    let changes = feed.next().await;
    let told =
        |change: &Change| matches!(change, Change::Put(at) if at.kind == Kind::Revocation && at.id == what.to_string());
    assert!(changes.iter().any(told), "{changes:?}");
    for what in [Revoked::Everything, Revoked::User(user(1)), Revoked::Session(hash("s")), what] {
        assert_eq!(what.to_string().parse(), Ok(what));
    }
}

async fn a_login_is_redeemed_once_and_in_time(f: &Fixture) {
    let (logins, write, operate) = (f.store.login_states(), grant::<WriteUsers>(), grant::<Operate>());
    let state = Secret::new("verifier".to_owned());
    let minute = Duration::from_secs(60);
    let stored = logins.begin(&write, hash("one"), "192.0.2.1".to_owned(), &state, minute).await.unwrap();
    assert!(!serde_json::to_string(&stored.document).unwrap().contains("verifier"));
    let mut redeemers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = f.store.clone();
        redeemers.spawn(async move { store.login_states().redeem(&grant(), hash("one")).await.unwrap() });
    }
    let redeemed: Vec<_> = redeemers.join_all().await.into_iter().flatten().collect();
    assert_eq!(redeemed.iter().map(|state| state.expose().as_str()).collect::<Vec<_>>(), ["verifier"]);
    logins.begin(&write, hash("two"), "192.0.2.1".to_owned(), &state, minute).await.unwrap();
    f.clock.advance(minute);
    assert!(logins.redeem(&operate, hash("two")).await.unwrap().is_none());
}

async fn a_login_is_changed_over_what_was_read_and_the_newest_of_its_id_counts(f: &Fixture) {
    let (logins, write, operate) = (f.store.login_states(), grant::<WriteUsers>(), grant::<Operate>());
    let (minute, source) = (Duration::from_secs(60), || "pin/192.0.2.1".to_owned());
    let state = |text: &str| Secret::new(text.to_owned());
    let first = logins.begin_again(&write, hash("pin"), source(), &state("5 left"), minute).await.unwrap();
    // Of eight guesses at once each is counted, for all but one must read again.
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, read) = (f.store.clone(), first.clone());
        let state = state("4 left");
        guesses.spawn(async move { store.login_states().settle(&grant(), read, &state).await.unwrap() });
    }
    assert_eq!(guesses.join_all().await.into_iter().filter(|counted| *counted).count(), 1);
    let mut read = logins.get(&write, &hash("pin")).await.unwrap().unwrap();
    assert_eq!(read.document.expires_at, first.document.expires_at);
    assert_eq!(logins.open_members(&operate, &mut read.clone()).unwrap()["state"].expose(), "4 left");
    // One that is begun again is no longer what was read.
    logins.begin_again(&write, hash("pin"), source(), &state("another"), minute).await.unwrap();
    assert!(!logins.settle(&write, read, &state("4 left")).await.unwrap());
    read = logins.get(&write, &hash("pin")).await.unwrap().unwrap();
    assert_eq!(logins.open_members(&operate, &mut read.clone()).unwrap()["state"].expose(), "another");
    f.clock.advance(minute);
    f.store.sweep_access(&operate).await.unwrap();
    assert!(!logins.settle(&write, read, &state("back")).await.unwrap());
}

fn mail(f: &Fixture, to: &str, seconds: u64) -> NewMail {
    NewMail {
        html: Some(Secret::new(format!("<p>{to}</p>"))),
        to: to.to_owned(),
        subject: "Your code".to_owned(),
        text: Secret::new("424242".to_owned()),
        expires_at: f.clock.now() + Duration::from_secs(seconds),
    }
}

async fn a_request_for_approval_is_kept_with_its_mail_and_answered_over_what_was_read(f: &Fixture) {
    let (approvals, operate, users) = (f.store.approvals(), grant::<Operate>(), grant::<WriteUsers>());
    let approval = |answers: u32| Approval {
        user: user(1),
        application: app_id(1),
        policy: policy_id(1),
        expires_at: f.clock.now() + Duration::from_secs(100),
        state: json!({"answers": answers}),
    };
    let mails = |f: &Fixture| vec![mail(f, "boss@example.com", 100), mail(f, "chief@example.com", 100)];
    let first = approvals.write(&operate, hash("asked"), approval(0), None, mails(f)).await.unwrap().unwrap();
    // Asking again is one request, and one mail to each.
    assert_eq!(approvals.write(&operate, hash("asked"), approval(9), None, mails(f)).await.unwrap(), None);
    assert_eq!(f.store.outbox().list(&grant::<Administer>()).await.unwrap().len(), 2);
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (store, answer) = (f.store.clone(), approval(number + 1));
        answers.spawn(async move {
            store.approvals().write(&grant(), hash("asked"), answer, Some(first), Vec::new()).await.unwrap().is_some()
        });
    }
    assert_eq!(answers.join_all().await.into_iter().filter(|written| *written).count(), 1);
    let kept = approvals.list_of(&users, user(1)).await.unwrap();
    assert_eq!((kept.len(), kept[0].revision > first), (1, true));
    // What was withdrawn is not brought back by an answer that comes late.
    approvals.delete(&users, &hash("asked"), None).await.unwrap();
    let late = approvals.write(&operate, hash("asked"), approval(1), Some(kept[0].revision), Vec::new()).await;
    assert_eq!(late.unwrap(), None);
    assert!(approvals.list(&users).await.unwrap().is_empty());
}

async fn mail_waits_is_claimed_by_one_and_is_swept(f: &Fixture) {
    let (outbox, operate, administer) = (f.store.outbox(), grant::<Operate>(), grant::<Administer>());
    let queued = outbox.enqueue(&operate, mail(f, "ann@example.com", 600)).await.unwrap();
    assert!(!serde_json::to_string(&queued.document).unwrap().contains("424242"));
    let due = outbox.due(&operate, 10).await.unwrap();
    let claimed = outbox.claim(&operate, due[0].clone(), Duration::from_secs(30)).await.unwrap().unwrap();
    assert!(outbox.claim(&operate, due[0].clone(), Duration::from_secs(30)).await.unwrap().is_none());
    assert!(outbox.due(&operate, 10).await.unwrap().is_empty());
    outbox.failed(&operate, claimed, "connection\r\nrefused", Some(Duration::from_secs(5))).await.unwrap();
    assert!(outbox.due(&operate, 10).await.unwrap().is_empty());
    f.clock.advance(Duration::from_secs(5));
    let due = outbox.due(&operate, 10).await.unwrap();
    assert_eq!((due[0].document.attempts, due[0].document.failure.as_deref()), (1, Some("connectionrefused")));
    let mut claimed = outbox.claim(&operate, due[0].clone(), Duration::from_secs(30)).await.unwrap().unwrap();
    let opened = outbox.open_members(&operate, &mut claimed).unwrap();
    assert_eq!(
        (opened["text"].expose().as_str(), opened["html"].expose().as_str()),
        ("424242", "<p>ann@example.com</p>")
    );
    outbox.sent(&operate, claimed).await.unwrap();
    let listed = outbox.list(&administer).await.unwrap();
    assert_eq!((listed[0].document.status, listed[0].document.sent_at), (MailStatus::Sent, Some(f.clock.now())));
    assert_eq!(
        (&listed[0].document.text, &listed[0].document.html),
        (&None, &None),
        "a code that was delivered is nobody's to read"
    );

    for _ in 0..=MAILS_KEPT {
        f.clock.advance(Duration::from_secs(1));
        outbox.enqueue(&operate, mail(f, "flooded@example.com", 600)).await.unwrap();
    }
    assert_eq!(outbox.list_of(&administer, "flooded@example.com").await.unwrap().len(), MAILS_KEPT);
    f.clock.advance(Duration::from_secs(600));
    assert!(outbox.due(&operate, 10).await.unwrap().is_empty());
    f.store.sweep_access(&operate).await.unwrap();
    assert!(outbox.list(&administer).await.unwrap().is_empty());
}

async fn what_has_ended_is_swept_and_the_rest_stays(f: &Fixture) {
    let (sessions, apps, grant) = (f.store.access_sessions(), f.store.app_sessions(), grant::<WriteUsers>());
    for (name, seconds) in [("short", 10), ("long", 1_000)] {
        sessions.start(&grant, hash(name), session(f, 1, seconds)).await.unwrap();
        apps.start(&grant, hash(&format!("app {name}")), app_session(f, hash("long"), seconds)).await.unwrap();
    }
    f.store.applications().create(&crate::fixture::grant(), app_id(1), application("stays")).await.unwrap();
    f.clock.advance(Duration::from_secs(10));
    f.store.sweep_access(&crate::fixture::grant()).await.unwrap();
    let left: Vec<_> = sessions.list(&grant).await.unwrap().iter().map(|session| session.id).collect();
    assert_eq!(left, [hash("long")]);
    let left: Vec<_> = apps.list(&grant).await.unwrap().iter().map(|session| session.id).collect();
    assert_eq!(left, [hash("app long")]);
    assert_eq!(f.store.applications().list(&crate::fixture::grant::<WriteAccess>()).await.unwrap().len(), 1);
}

/// A grant of a person in a session, as the plane keeps it.
fn given(f: &Fixture, owner: u128, session: &str) -> OauthGrant {
    OauthGrant {
        user: user(owner),
        client: hash("client"),
        application: app_id(1),
        session: Some(hash(session)),
        expires_at: f.clock.now() + Duration::from_secs(100),
        state: json!({"step": 1}),
    }
}

async fn a_request_is_answered_by_one_grant_and_a_grant_is_written_over_what_was_read(f: &Fixture) {
    let (grants, write) = (f.store.oauth_grants(), grant::<WriteUsers>());
    let life = Duration::from_secs(600);
    let logins = f.store.login_states();
    logins.begin(&write, hash("request"), "source".to_owned(), &Secret::new("{}".to_owned()), life).await.unwrap();
    let mut approvals = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (store, given) = (f.store.clone(), given(f, 1, "session"));
        approvals.spawn(async move {
            let id = hash(&format!("grant {number}"));
            store.oauth_grants().approve(&grant(), hash("request"), id, given).await.unwrap()
        });
    }
    let approved = approvals.join_all().await;
    assert_eq!(approved.iter().filter(|approved| **approved).count(), 1, "{approved:?}");
    let kept = grants.list(&write).await.unwrap();
    assert_eq!(kept.len(), 1);
    // Of eight that write over one revision, one does.
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (store, kept) = (f.store.clone(), kept[0].clone());
        writers.spawn(async move {
            let document = OauthGrant { state: json!({"number": number}), ..kept.document };
            let written = store.oauth_grants().settle(&grant(), kept.id, &document, kept.revision).await.unwrap();
            written.map(|revision| (revision, document))
        });
    }
    let written: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let [(revision, document)] = &written[..] else { panic!("{written:?}") };
    let found = grants.get(&write, &kept[0].id).await.unwrap().unwrap();
    assert_eq!((found.revision, &found.document), (*revision, document));
    assert_eq!(revision.0, kept[0].revision.0 + 1);
    assert_eq!((found.created_at, grants.list_of(&write, user(1)).await.unwrap().len()), (kept[0].created_at, 1));
    // What was deleted does not come back by it.
    grants.revoke(&write, found.id).await.unwrap();
    assert_eq!(grants.settle(&write, found.id, &found.document, found.revision).await.unwrap(), None);
    assert_eq!(grants.list(&write).await.unwrap(), []);
}

async fn a_change_says_which_revision_it_made(f: &Fixture) {
    let (grants, write) = (f.store.oauth_grants(), grant::<WriteUsers>());
    let mut feed = f.store.changes().await.unwrap();
    let document = given(f, 1, "session");
    let made = grants.give(&write, hash("grant"), document.clone()).await.unwrap();
    let settled = grants.settle(&write, made.id, &document, made.revision).await.unwrap().unwrap();
    let replaced = grants.replace(&write, made.id, document, Some(settled)).await.unwrap();
    grants.revoke(&write, made.id).await.unwrap();
    let told: Vec<_> = feed.ready().await.unwrap();
    let told: Vec<_> = told
        .into_iter()
        .map(|change| match change {
            Change::Put(document) => ("put", document.revision),
            Change::Deleted(document) => ("deleted", document.revision),
            other @ (Change::ChildrenDeleted(_) | Change::Resync { .. }) => panic!("{other:?}"),
        })
        .collect();
    let puts = [made.revision, settled, replaced.revision].map(|revision| ("put", Some(revision)));
    assert_eq!(told, [&puts[..], &[("deleted", None)]].concat());
}

async fn the_oldest_grants_of_a_person_give_way_and_every_node_hears_of_it(f: &Fixture) {
    let (grants, write) = (f.store.oauth_grants(), grant::<WriteUsers>());
    for number in 0..GRANTS_KEPT {
        f.clock.advance(Duration::from_secs(1));
        grants.create(&write, hash(&format!("grant {number}")), given(f, 1, "session")).await.unwrap();
    }
    grants.create(&write, hash("of another"), given(f, 2, "session")).await.unwrap();
    let mut feed = f.store.changes().await.unwrap();
    let life = Duration::from_secs(600);
    let logins = f.store.login_states();
    logins.begin(&write, hash("request"), "source".to_owned(), &Secret::new("{}".to_owned()), life).await.unwrap();
    f.clock.advance(Duration::from_secs(1));
    assert!(grants.approve(&write, hash("request"), hash("first new"), given(f, 1, "session")).await.unwrap());
    f.clock.advance(Duration::from_secs(1));
    grants.give(&write, hash("second new"), given(f, 1, "session")).await.unwrap();
    let mut gone = Vec::new();
    while gone.len() < 2 {
        gone.extend(feed.next().await.into_iter().filter_map(|change| match change {
            Change::Deleted(document) if document.kind == Kind::OauthGrant => Some(document.id),
            Change::Put(_) | Change::Deleted(_) | Change::ChildrenDeleted(_) | Change::Resync { .. } => None,
        }));
    }
    assert_eq!(gone, [hash("grant 0").to_string(), hash("grant 1").to_string()]);
    let left = grants.list(&write).await.unwrap();
    assert_eq!(left.len(), GRANTS_KEPT + 1);
    assert!(!left.iter().any(|kept| gone.contains(&kept.id.to_string())));
}

async fn a_state_that_nodes_share_is_kept_over_what_was_read(f: &Fixture) {
    let (states, write) = (f.store.login_states(), grant::<WriteUsers>());
    let life = Duration::from_secs(60);
    let keep = async |text: &str, read| {
        let state = Secret::new(text.to_owned());
        states.keep(&write, (hash("rate"), "rate".to_owned()), &state, life, read).await.unwrap()
    };
    assert!(keep("1", None).await && !keep("other", None).await);
    let read = states.get(&write, &hash("rate")).await.unwrap().unwrap();
    f.clock.advance(Duration::from_secs(30));
    assert!(keep("2", Some(read.revision)).await && !keep("other", Some(read.revision)).await);
    let kept = states.get(&write, &hash("rate")).await.unwrap().unwrap();
    assert_eq!(kept.document.expires_at, f.clock.now() + life, "it lives from the last write on");
    assert_eq!(states.redeem(&grant(), hash("rate")).await.unwrap().unwrap().expose(), "2");
    assert!(!keep("3", Some(kept.revision)).await, "what is gone is not written over");
}

async fn grants_end_with_their_session_and_their_person(f: &Fixture) {
    let (grants, write) = (f.store.oauth_grants(), grant::<WriteUsers>());
    let sessions = f.store.access_sessions();
    for (name, owner) in [("one", 1), ("two", 1), ("three", 2)] {
        sessions.start(&write, hash(name), session(f, owner, 1_000)).await.unwrap();
        let document = given(f, owner, name);
        grants.create(&write, hash(&format!("in {name}")), document).await.unwrap();
    }
    let left = async || {
        let mut left: Vec<_> = grants.list(&write).await.unwrap().iter().map(|kept| kept.document.session).collect();
        left.sort();
        left
    };
    sessions.end(&grant(), hash("one")).await.unwrap();
    let mut others = vec![Some(hash("two")), Some(hash("three"))];
    others.sort();
    assert_eq!(left().await, others);
    sessions.end_all(&grant(), user(1)).await.unwrap();
    assert_eq!(left().await, [Some(hash("three"))]);
}

async fn a_persons_factors_are_reset_together(f: &Fixture) {
    let (factors, grant) = (f.store.factors(), grant::<WriteUsers>());
    for (number, owner) in [(1, 1), (2, 1), (3, 2)] {
        let id = FactorId(Uuid::from_u128(number));
        let secret = factors.seal_member(&grant, &id, "secret", &Secret::new("seed".to_owned())).unwrap();
        let factor =
            Factor { user: user(owner), kind: "totp".to_owned(), name: String::new(), last_used_at: None, secret };
        factors.create(&grant, id, factor).await.unwrap();
    }
    assert_eq!(factors.list_of(&grant, user(1)).await.unwrap().len(), 2);
    factors.reset(&grant, user(1)).await.unwrap();
    assert_eq!(factors.list(&grant).await.unwrap().len(), 1);
}
