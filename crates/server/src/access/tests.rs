//! What the loop of Access makes of changes: a sign-in costs no new configuration, a password does.

use std::sync::Arc;
use std::time::Duration;

use ::access::{
    AccessConfig, ApprovalLedger as _, KeptApproval, KeptGrant, KeptRate, Ledger as _, Newcomer, OauthLedger as _,
    PinLedger as _,
};
use arc_swap::ArcSwap;
use identity::approval::{self, Answer, ApprovalRequest, Approvers, Asked};
use identity::evaluation::Frozen;
use identity::identity::Identity;
use identity::oauth::grant::GrantId;
use identity::opaque::Digest;
use identity::pin::PER_ADDRESS;
use identity::provider::ProviderType;
use identity::session::{Moment, Session, SessionSecret};
use jiff::Timestamp;
use logs::{Logs, LogsConfig};
use serde_json::json;
use store::{AccessProfile, HashId, OauthGrant, Principal, Store, StoreConfig, User, WriteServiceTokens, WriteUsers};
use tokio_util::sync::CancellationToken;
use types::{AccessPolicyId, AccountId, ApplicationId, KvNamespaceId, ProviderId, ServiceTokenId, UserId};
use uuid::Uuid;

use super::approvals::StoreApprovals;
use super::pins::StorePins;
use super::{Assembled, Ground, assemble};
use crate::in_force::InForce;
use crate::managed::Managed;
use crate::scripts::Scripts;
use crate::upstream::{Fixed, Upstream};

const SECRET: SessionSecret = SessionSecret::of([7; 32]);

/// There are no scripts here.
struct NoWorkers;

impl ::access::Workers for NoWorkers {
    fn find(&self, _: &types::ScriptName) -> Option<Arc<worker::Script>> {
        None
    }

    fn ask<'a>(
        &'a self,
        script: &'a Arc<worker::Script>,
        _: String,
        _: Duration,
    ) -> worker::BoxFuture<'a, Result<worker::Said, worker::CallError>> {
        unreachable!("{} was not found", script.key)
    }
}

struct World {
    store: Store,
    account: AccountId,
    assembled: Assembled,
    _directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let store = Store::open(StoreConfig::memory()).await.unwrap();
        let system = Principal::system("test");
        let account = crate::account::ensure_account(&store, &system).await.unwrap();
        crate::account::ensure_authority(&store, &system, account, Timestamp::now()).await.unwrap();
        let upstream = Upstream::new(Fixed::default(), &store::Network::default(), crate::clock()).unwrap();
        let upstream = Arc::new(upstream);
        let builder = crate::snapshot::Builder::new(
            store.clone(),
            account,
            Arc::new(Scripts::default()),
            Managed::new(KvNamespaceId(Uuid::nil())),
            Arc::clone(&upstream),
        );
        let gateway = InForce::first(builder).await.unwrap().snapshot(1);
        let directory = tempfile::tempdir().unwrap();
        let ground = Ground {
            store: store.clone(),
            account,
            logs: Logs::open(directory.path(), LogsConfig::default()).await.unwrap(),
            clock: crate::clock(),
            upstream,
            workers: Arc::new(NoWorkers),
            gateway: Arc::new(ArcSwap::from_pointee(gateway)),
            portals: Arc::new(|host| panic!("no portal is made here, {host} neither")),
        };
        let assembled = assemble(ground, AccessConfig::default(), None).await.unwrap();
        Self { store, account, assembled, _directory: directory }
    }

    fn grant(&self) -> store::Grant<WriteUsers> {
        Principal::system("test").authorize::<WriteUsers>(self.account).unwrap()
    }

    async fn person(&self) -> UserId {
        let id = UserId(Uuid::new_v4());
        let email = "ana@example.test".parse().unwrap();
        let user = User { email, name: "Ana".into(), groups: Vec::new(), disabled: false };
        self.store.users().create(&self.grant(), id, user).await.unwrap();
        id
    }

    /// Whether what changed since the last call concerns the configuration; if it does, it is built.
    async fn concerned(&mut self) -> bool {
        let follower = &mut self.assembled.follower;
        let changes = follower.feed.ready().await.unwrap();
        assert!(!changes.is_empty());
        follower.take_over(&changes, Timestamp::now(), &CancellationToken::new()).await;
        let concerned = follower.concerns(&changes).await;
        if concerned {
            assert!(follower.rebuild().await);
        }
        concerned
    }

    fn session(user: UserId) -> Session {
        let now = Moment(Timestamp::now().as_millisecond());
        let identity = Identity {
            user,
            email: "ana@example.test".parse().unwrap(),
            name: "Ana".into(),
            provider: ProviderId(Uuid::nil()),
            provider_type: ProviderType::BuiltIn,
            signed_in: now.seconds(),
            ip: "192.0.2.7".parse().unwrap(),
            country: None,
            amr: Arc::new([]),
            steps: Box::new([]),
        };
        Session::start(Arc::new(identity), Arc::new(Frozen::default()), Duration::from_secs(3_600), now)
    }

    /// Writes a session of `user` down, as a sign-in does.
    async fn sign_in(&self, user: UserId, user_agent: &str) {
        let session = Self::session(user);
        let identity = Arc::clone(&session.identity);
        let newcomer = Newcomer {
            email: &identity.email,
            name: &identity.name,
            provider: identity.provider,
            ip: identity.ip,
            user_agent,
        };
        self.assembled.follower.ledger.start(SECRET.hash(), &session, newcomer).await.unwrap();
    }

    /// Keeps a grant of `user`, as an approval does, and returns it as it is read.
    async fn given(&self, user: UserId) -> KeptGrant {
        let now = Timestamp::now().as_second();
        let hash = "A".repeat(43);
        let grant = json!({
            "id": Uuid::from_u128(9), "user": user, "application": Uuid::from_u128(1), "client": "client",
            "resource": "https://wiki.example.test", "scopes": [], "session": hash, "created_at": now,
            "expires_at": now + 9_999, "ended": null, "with_refresh": true,
            "lifetimes": { "access_token": 900, "grant": 9_999 },
            "code": { "hash": hash, "redirect_uri": "", "challenge": "", "expires_at": now, "used": true },
            "family": hash, "refresh": hash, "superseded": [],
            "access": [{ "hash": hash, "at": now, "expires_at": now + 900 }],
        });
        let id = HashId::from_bytes([9_u128.to_be_bytes(), 9_u128.to_be_bytes()].concat().try_into().unwrap());
        let document = OauthGrant {
            user,
            client: HashId::of(b"client"),
            application: ApplicationId(Uuid::from_u128(1)),
            session: None,
            expires_at: Timestamp::from_second(now + 9_999).unwrap(),
            state: json!({ "grant": grant, "session": Self::session(user) }),
        };
        self.store.oauth_grants().give(&self.grant(), id, document).await.unwrap();
        let id = GrantId(Uuid::from_u128(9));
        self.assembled.follower.oauth.grant(id).await.unwrap().unwrap()
    }

    async fn set_password(&self, user: UserId, hash: &str) {
        let profiles = self.store.access_profiles();
        let known = profiles.get(&self.grant(), &user).await.unwrap().map(|known| known.document).unwrap_or_default();
        let profile = AccessProfile { password_hash: Some(hash.to_owned()), ..known };
        profiles.put(&self.grant(), user, profile).await.unwrap();
    }
}

#[tokio::test]
async fn an_approval_that_another_node_wrote_or_ended_is_taken_over() {
    let mut world = World::start().await;
    let user = world.person().await;
    let (application, policy) = (ApplicationId(Uuid::from_u128(1)), AccessPolicyId(Uuid::from_u128(2)));
    let now = Timestamp::now().as_second();
    let asked = Asked {
        user,
        email: "ana@example.test".parse().unwrap(),
        application,
        policy,
        session: SECRET.hash(),
        justification: None,
    };
    let groups = [Approvers { needed: 1, people: vec!["boss@example.test".parse().unwrap()] }];
    let (mut request, mail) = ApprovalRequest::open(asked, &groups, &[1; 32], now).unwrap();
    let boss = "boss@example.test".parse().unwrap();
    request.answer(&boss, mail[0].link.expose(), Answer::Grant(Duration::from_secs(600)), now).unwrap();
    let id = approval::id(SECRET.hash(), application, policy);
    // Another node has a table of its own.
    let elsewhere = StoreApprovals {
        store: world.store.clone(),
        account: world.account,
        principal: Principal::system("test"),
        table: Arc::default(),
    };
    assert!(elsewhere.write(id, KeptApproval { revision: 0, request: request.clone() }, Vec::new()).await.unwrap());
    let here = |world: &World| world.assembled.follower.approvals.table.holds(&id);
    assert!(elsewhere.table.holds(&id) && !here(&world));
    assert!(!world.concerned().await, "an approval is no configuration");
    assert!(here(&world));
    // A node that starts now knows it too, and one answer counts over what was read.
    let late = StoreApprovals { table: Arc::default(), ..elsewhere };
    late.fill().await.unwrap();
    assert!(late.table.holds(&id));
    assert!(!late.write(id, KeptApproval { revision: 0, request }, Vec::new()).await.unwrap());
    let hash = HashId::from_bytes(id.0);
    world.store.approvals().delete(&world.grant(), &hash, None).await.unwrap();
    world.concerned().await;
    assert!(!here(&world), "what an administrator ended admits nobody");
}

#[tokio::test]
async fn codes_by_mail_are_counted_for_the_account_and_not_for_each_node() {
    let world = World::start().await;
    let node =
        || StorePins { store: world.store.clone(), account: world.account, principal: Principal::system("test") };
    let (one, two, of, now) = (node(), node(), Digest::of("pin/address/ana@example.test"), 1_800_000_000);
    let take = async |node: &StorePins, now: i64| {
        let mut kept = node.rate(of).await.unwrap();
        let taken = kept.rate.take(PER_ADDRESS, now).is_ok();
        assert!(node.spend(of, kept, now).await.unwrap());
        taken
    };
    assert!(take(&one, now).await && take(&two, now).await && take(&one, now).await);
    assert!(!take(&two, now).await && !take(&one, now + 299).await, "three at once, whichever node is asked");
    assert!(take(&two, now + 300).await);
    // Two that read the same do not both write.
    let (mut here, mut there) = (one.rate(of).await.unwrap(), two.rate(of).await.unwrap());
    let later = now + 10_000;
    assert!(here.rate.take(PER_ADDRESS, later).is_ok() && there.rate.take(PER_ADDRESS, later).is_ok());
    assert!(one.spend(of, here, later).await.unwrap() && !two.spend(of, there, later).await.unwrap());
    // A rate is no code, whoever asks for it under its name.
    assert!(one.pending(of).await.unwrap().is_none());
    // Nor does one rate make another give way, however many there are from one source.
    for number in 0..40 {
        assert!(one.spend(Digest::of(&format!("pin/address/{number}")), KeptRate::default(), later).await.unwrap());
    }
    assert!(two.rate(of).await.unwrap().revision > 0);
}

#[tokio::test]
async fn the_last_use_of_a_service_token_is_kept_and_is_no_configuration() {
    let mut world = World::start().await;
    let grant = Principal::system("test").authorize::<WriteServiceTokens>(world.account).unwrap();
    let (id, gone) = (ServiceTokenId(Uuid::from_u128(1)), ServiceTokenId(Uuid::from_u128(2)));
    let token = json!({"name": "robot", "client_id": "robot.access", "secret_hash": "x", "version": 1, "duration": "8760h", "enabled": true});
    let token: store::ServiceToken = serde_json::from_value(token).unwrap();
    world.store.service_tokens().create(&grant, id, token).await.unwrap();
    assert!(world.concerned().await, "a token is");
    let ledger = &world.assembled.follower.ledger;
    for (token, at) in [(id, 120_000), (id, 60_000), (gone, 120_000)] {
        ledger.used(token, Moment(at)).await.unwrap();
    }
    let uses = world.store.service_token_uses().list(&grant).await.unwrap();
    let uses: Vec<_> = uses.iter().map(|seen| (seen.id, seen.document.last_seen_at.as_second())).collect();
    assert_eq!(uses, [(id, 120)]);
    assert!(world.assembled.follower.feed.ready().await.unwrap().is_empty(), "no node is told of its use");
}

#[tokio::test]
async fn a_sign_in_makes_no_new_configuration_and_a_password_does() {
    let mut world = World::start().await;
    let ana = world.person().await;
    assert!(!world.concerned().await, "somebody without a password");
    world.sign_in(ana, "Browser").await;
    assert!(!world.concerned().await, "a sign-in");
    world.set_password(ana, "$argon2id$one").await;
    assert!(world.concerned().await, "a password");
    world.sign_in(ana, "Browser").await;
    assert!(!world.concerned().await, "a sign-in of somebody with a password");
    world.set_password(ana, "$argon2id$two").await;
    assert!(world.concerned().await, "another password");
    let users = world.store.users();
    let mut user = users.get(&world.grant(), &ana).await.unwrap().unwrap().document;
    user.disabled = true;
    users.replace(&world.grant(), ana, user, None).await.unwrap();
    assert!(world.concerned().await, "somebody with a password is shut out");
    world.store.access_profiles().delete(&world.grant(), &ana, None).await.unwrap();
    assert!(world.concerned().await, "a password is gone");
}

#[tokio::test]
async fn a_session_written_here_is_not_read_again_and_one_written_elsewhere_is() {
    let mut world = World::start().await;
    let ana = world.person().await;
    world.sign_in(ana, "Browser").await;
    world.concerned().await;
    let table = Arc::clone(&world.assembled.follower.ledger.sessions);
    // The plane enters what it started; the loop would have entered it again.
    assert_eq!(table.len(), 0);

    let id = HashId::from_bytes(*SECRET.hash().bytes());
    let sessions = world.store.access_sessions();
    let elsewhere = sessions.get(&world.grant(), &id).await.unwrap().unwrap();
    sessions.replace(&world.grant(), id, elsewhere.document, None).await.unwrap();
    world.concerned().await;
    assert_eq!(table.len(), 1);
}

#[tokio::test]
async fn a_grant_written_here_is_not_read_again_and_one_written_elsewhere_is() {
    let mut world = World::start().await;
    let ana = world.person().await;
    let mut kept = world.given(ana).await;
    let (oauth, id, now) = (Arc::clone(&world.assembled.follower.oauth), kept.grant.id, Timestamp::now().as_second());
    let held = || oauth.grants.revision(id);
    world.concerned().await;
    assert_eq!(held(), None, "nobody used it here");
    // As the plane does it.
    let ahead = oauth.grants.ahead(id);
    kept.revision = oauth.replace(&kept).await.unwrap().unwrap();
    // A revision that nobody wrote shows whether the copy is replaced.
    ahead.enter(KeptGrant { revision: kept.revision + 7, ..kept.clone() }, now);
    world.concerned().await;
    assert_eq!(held(), Some(kept.revision + 7));
    // Of two nodes that write over one revision one does, and the other takes it over.
    oauth.grants.forget(id);
    oauth.grants.ahead(id).enter(kept.clone(), now);
    let elsewhere = oauth.replace(&kept).await.unwrap().unwrap();
    assert_eq!(oauth.replace(&kept).await.unwrap(), None);
    world.concerned().await;
    assert_eq!(held(), Some(elsewhere));
    world.store.access_sessions().end_all(&operate(&world), ana).await.unwrap();
    world.concerned().await;
    assert_eq!(held(), None, "a person who was revoked has no grants");
    assert!(oauth.grant(id).await.unwrap().is_none() && oauth.replace(&kept).await.unwrap().is_none());
}

#[tokio::test]
async fn somebody_who_was_shut_out_is_active_no_more_with_the_next_change() {
    let mut world = World::start().await;
    let ana = world.person().await;
    let oauth = Arc::clone(&world.assembled.follower.oauth);
    world.concerned().await;
    assert!(oauth.is_active(ana).await.unwrap());
    assert!(!oauth.is_active(UserId(Uuid::from_u128(1))).await.unwrap(), "nobody");
    let store = world.store.clone();
    let users = store.users();
    let user = users.get(&world.grant(), &ana).await.unwrap().unwrap().document;
    users.replace(&world.grant(), ana, User { disabled: true, ..user.clone() }, None).await.unwrap();
    world.concerned().await;
    assert!(!oauth.is_active(ana).await.unwrap());
    users.replace(&world.grant(), ana, user, None).await.unwrap();
    assert!(oauth.is_active(ana).await.unwrap(), "nobody is remembered as shut out");
    // Whoever is looked up while a change is told is not remembered.
    let times = super::oauth::People::default();
    let asked = times.find(ana).unwrap_err();
    times.forget(ana);
    times.keep(ana, asked);
    assert!(times.find(ana).is_err());
}

fn operate(world: &World) -> store::Grant<store::Operate> {
    Principal::system("test").authorize::<store::Operate>(world.account).unwrap()
}

#[tokio::test]
async fn a_session_that_goes_on_keeps_its_public_name_and_its_browser() {
    let world = World::start().await;
    let ana = world.person().await;
    let id = HashId::from_bytes(*SECRET.hash().bytes());
    world.sign_in(ana, "Browser").await;
    let first = world.store.access_sessions().get(&world.grant(), &id).await.unwrap().unwrap().document;
    // A factor that was proved writes the same session again and has no browser to name.
    let ledger = &world.assembled.follower.ledger;
    let session: Session = serde_json::from_value(first.state.clone()).unwrap();
    ledger.change(SECRET.hash(), &session).await.unwrap();
    let second = world.store.access_sessions().get(&world.grant(), &id).await.unwrap().unwrap().document;
    assert_eq!((&second.nonce, second.user_agent.as_str()), (&first.nonce, "Browser"));
    world.store.access_sessions().delete(&world.grant(), &id, None).await.unwrap();
    let gone = ledger.change(SECRET.hash(), &session).await;
    assert!(matches!(gone, Err(access::LedgerError::Ended)), "a session that ended stays ended: {gone:?}");
}

#[tokio::test]
async fn settling_waits_until_what_was_stored_is_in_force() {
    let world = World::start().await;
    let World { store, account, assembled, _directory } = world;
    let snapshot = Arc::clone(&assembled.follower.snapshot);
    let stop = CancellationToken::new();
    let settle = assembled.settle.clone();
    let follower = assembled.follower.run(stop.clone());
    let changing = async {
        let grant = Principal::system("test").authorize::<store::WriteAccess>(account).unwrap();
        for number in 1..=20_u128 {
            let application = store::Application {
                name: format!("Wiki {number}"),
                aud: format!("{number:064x}"),
                body: json!({
                    "type": "self_hosted", "name": "Wiki", "domain": format!("wiki{number}.example.test"),
                    "portunus": {"origin": {"url": "http://127.0.0.1:1"}},
                }),
            };
            let id = types::ApplicationId(Uuid::from_u128(number));
            store.applications().create(&grant, id, application).await.unwrap();
            let (done, wait) = tokio::sync::oneshot::channel();
            settle.send(done).await.unwrap();
            wait.await.unwrap();
            assert!(snapshot.load().routes.has_host(&format!("wiki{number}.example.test")), "number {number}");
        }
        stop.cancel();
    };
    tokio::join!(follower, changing);
}
