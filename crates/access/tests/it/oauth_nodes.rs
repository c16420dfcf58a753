//! Grants that a node holds: what it answers from them, and what it asks the store again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use access::{GrantTable, KeptGrant};
use http::StatusCode;
use identity::oauth::grant::{EndReason, GrantId};
use identity::session::{Moment, Revoked};
use serde_json::json;

use crate::oauth::{Agent, Tokens, setup, value};
use crate::support::Stand;

/// The one grant there is, as the store has it.
fn kept(stand: &Stand) -> KeptGrant {
    stand.oauth.grants.lock().unwrap().values().next().unwrap().clone()
}

/// Makes the node know a grant as it was, as when another node wrote it since.
fn fall_behind(stand: &Stand, old: &KeptGrant) {
    stand.agents.forget(old.grant.id);
    stand.agents.ahead(old.grant.id).enter(old.clone(), stand.seconds());
    assert_eq!(stand.agents.revision(old.grant.id), Some(old.revision));
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_and_calls_read_nothing_and_a_repeat_is_asked_of_the_store() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let mut tokens = agent.tokens(&mut stand.browser()).await;
    let before = stand.oauth.read.load(Ordering::SeqCst);
    let first = tokens.clone();
    for _ in 0..3 {
        tokens = Tokens::of(&agent.refresh(&tokens.refresh).await);
        assert_eq!(agent.call(&tokens.access).await.status, StatusCode::OK);
        assert_eq!(stand.agents.revision(kept(&stand).grant.id), Some(kept(&stand).revision));
    }
    assert_eq!(stand.oauth.read.load(Ordering::SeqCst), before);
    assert_eq!(Tokens::of(&agent.refresh(&first.refresh).await), tokens);
    assert_eq!(stand.oauth.read.load(Ordering::SeqCst), before + 1);
    // An agent that comes back when its token is over is still known.
    stand.advance(Duration::from_secs(16 * 60));
    stand.agents.sweep(stand.seconds());
    tokens = Tokens::of(&agent.refresh(&tokens.refresh).await);
    assert_eq!(stand.oauth.read.load(Ordering::SeqCst), before + 1);
    stand.advance(Duration::from_secs(2 * 3_600));
    stand.agents.sweep(stand.seconds());
    assert_eq!(stand.agents.revision(kept(&stand).grant.id), None);
    assert_eq!(agent.refresh(&tokens.refresh).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_at_a_node_that_missed_the_last_rotation_works_and_ends_nothing() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let first = agent.tokens(&mut stand.browser()).await;
    let old = kept(&stand);
    // To the old copy the tokens of the second rotation are no newer than those of the first are to a thief.
    let second = Tokens::of(&agent.refresh(&first.refresh).await);
    stand.advance(Duration::from_secs(60));
    fall_behind(&stand, &old);
    assert_eq!(agent.call(&second.access).await.status, StatusCode::OK);
    fall_behind(&stand, &old);
    let third = Tokens::of(&agent.refresh(&second.refresh).await);
    assert_eq!(kept(&stand).grant.ended, None);
    assert_eq!(agent.call(&third.access).await.status, StatusCode::OK);
    // A copy that would rotate what is used already gives no second chain.
    fall_behind(&stand, &old);
    let reused = agent.refresh(&first.refresh).await;
    assert_eq!((reused.status, &value(&reused)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    assert_eq!(kept(&stand).grant.ended.unwrap().1, EndReason::RefreshReuse);
    assert_eq!(agent.call(&third.access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(agent.refresh(&third.refresh).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_ended_elsewhere_yields_nothing_here() {
    for deleted in [false, true] {
        let stand = Stand::start(setup()).await;
        let mut agent = Agent::register(&stand).await;
        let tokens = agent.tokens(&mut stand.browser()).await;
        let old = kept(&stand);
        {
            let mut grants = stand.oauth.grants.lock().unwrap();
            if deleted {
                grants.clear();
            } else {
                let ended = grants.get_mut(&old.grant.id).unwrap();
                ended.grant.end(stand.seconds(), EndReason::Revoked);
                ended.revision += 1;
            }
        }
        assert_eq!(stand.agents.revision(old.grant.id), Some(old.revision), "not heard of yet");
        let refused = agent.refresh(&tokens.refresh).await;
        assert_eq!((refused.status, &value(&refused)["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_nothing_is_given_of_what_the_node_holds() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    let tokens = agent.tokens(&mut stand.browser()).await;
    let before = kept(&stand);
    stand.oauth.gone.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let unavailable = agent.refresh(&tokens.refresh).await;
        assert_eq!(unavailable.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(value(&unavailable)["access_token"], json!(null), "{}", unavailable.text);
    }
    stand.oauth.gone.store(false, Ordering::SeqCst);
    assert_eq!(kept(&stand), before);
    let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
    assert_eq!(kept(&stand).revision, before.revision + 1);
    assert_eq!(agent.call(&next.access).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_given_before_a_revocation_was_heard_are_refused_once_it_is() {
    for everything in [false, true] {
        let stand = Stand::start(setup()).await;
        let mut agent = Agent::register(&stand).await;
        let tokens = agent.tokens(&mut stand.browser()).await;
        let user = kept(&stand).grant.user;
        let revoked_at = Moment(stand.seconds() * 1_000 + 999);
        stand.advance(Duration::from_secs(2));
        // Elsewhere it is revoked by now; this node has not heard.
        let next = Tokens::of(&agent.refresh(&tokens.refresh).await);
        assert_eq!(agent.call(&next.access).await.status, StatusCode::OK);
        stand.sessions.replay(if everything { Revoked::Everything } else { Revoked::User(user) }, revoked_at);
        assert_eq!(agent.call(&next.access).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(agent.refresh(&next.refresh).await.status, StatusCode::BAD_REQUEST);
        assert!(kept(&stand).grant.ended.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_never_older_than_what_the_node_was_told() {
    let stand = Stand::start(setup()).await;
    let mut agent = Agent::register(&stand).await;
    agent.tokens(&mut stand.browser()).await;
    let (kept, now) = (kept(&stand), stand.seconds());
    let id = kept.grant.id;
    let at = |revision| KeptGrant { revision, ..kept.clone() };
    let table = || Arc::new(GrantTable::new(1));
    let holding = |revision| {
        let table = table();
        table.ahead(id).enter(at(revision), now);
        table
    };
    // What is told is read again only where the copy is older and nobody is at it.
    let held = holding(5);
    assert!(!held.is_behind(id, Some(5)) && held.is_behind(id, Some(6)) && held.is_behind(id, None));
    assert!(!table().is_behind(id, Some(6)), "a grant that is not held");
    held.ahead(id).enter(at(4), now);
    assert_eq!(held.revision(id), Some(5), "an older copy replaces none");
    // A read that began before the change was told leaves nothing old behind.
    for (told, read, left) in [(6, 5, None), (6, 6, Some(6)), (6, 7, Some(7))] {
        let held = holding(5);
        let ahead = held.ahead(id);
        assert!(!held.is_behind(id, Some(told)));
        assert_eq!(held.revision(id), None, "known to be old");
        ahead.enter(at(read), now);
        assert_eq!(held.revision(id), left, "told {told}, read {read}");
        held.ahead(id).enter(at(8), now);
        assert_eq!(held.revision(id), Some(8));
    }
    type Forget = fn(&GrantTable, &KeptGrant);
    let ways: [Forget; 3] = [
        |table, kept| table.forget(kept.grant.id),
        |table, kept| table.forget_person(kept.grant.user),
        |table, _| table.clear(),
    ];
    for forget in ways {
        let held = holding(5);
        let ahead = held.ahead(id);
        forget(&held, &kept);
        ahead.enter(at(6), now);
        assert_eq!(held.revision(id), None, "deleted while it was read");
    }
    let held = holding(5);
    let other = GrantId(uuid::Uuid::from_u128(9));
    held.ahead(other).enter(kept.clone(), now);
    assert_eq!(held.revision(other), None, "there is room for one");
    let mut ended = at(6);
    ended.grant.end(now, EndReason::Client);
    held.ahead(id).enter(ended, now);
    assert_eq!(held.revision(id), None, "a grant that ended is not held");
}
