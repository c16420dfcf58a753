//! The sessions at portals: what a client said of itself, its links to servers, what is on its way back to it.
//!
//! It holds; what a message means is [`crate::endpoint`]'s. A client of the stateless era has no session of its own: it is
//! given one by who it is and what it says it can do, so that its links and choices outlive a request. Invariants: a
//! session is of one holder at one portal, and found for nobody else; whatever clients do, sessions, links, streams,
//! questions on their way and events that wait are bounded; and whatever a session started ends with it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use mcp::codemode::Names;
use mcp::message::{Id, Message, RpcError};
use mcp::names::ServerId;
use mcp::search::Index;
use mcp::version::{Era, Version};
use mcp::view::{Toggles, View};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::ApplicationId;

use crate::feed::{self, Feed, Gone, Held, Reader};
use crate::input::Parking;
use crate::upstream::link::Link;
use crate::visit::{Holder, Visit, Visitor};
use crate::watch::{Listeners, Watches};

/// Sessions of everybody at a node.
const MOST: usize = 20_000;
/// Sessions of one holder: clients start anew more often than they say goodbye.
const MOST_OF_ONE: usize = 64;
/// How long a session lives without a request (reference section 5.2).
pub(crate) const IDLE: Duration = Duration::from_secs(24 * 3_600);
/// Programs of Code Mode that a client has running.
const MOST_PROGRAMS: usize = 4;
/// Questions of servers that a client has not answered.
const MOST_PENDING: usize = 256;
/// Messages that wait for a client to listen.
const MOST_WAITING: usize = 256;
/// Streams of a client that are under way.
const MOST_FEEDS: usize = 256;
/// The same while the streams of the node hold more than they may.
const FEW_FEEDS: usize = 4;
/// Streams of a client that have ended and are kept.
const MOST_ENDED: usize = 16;
/// How long a stream that has ended is kept.
const KEEP_ENDED: Duration = Duration::from_secs(120);
/// The stream of what belongs to no request.
const OUTBOX: u64 = 0;

/// What a client said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) capabilities: Box<RawValue>,
}

/// A client at a portal.
pub(crate) struct Session {
    /// Visible ASCII, unguessable.
    pub(crate) id: String,
    pub(crate) portal: String,
    pub(crate) holder: Holder,
    pub(crate) version: Version,
    pub(crate) client: Client,
    links: Mutex<HashMap<String, Arc<Link>>>,
    /// Servers that the client switched, and whether they are on.
    switched: Mutex<Toggles>,
    /// Requests that servers are working on, by the client's id for them.
    running: Mutex<HashMap<String, Running>>,
    /// What a client asked to be told of servers' logs (`logging/setLevel`), as JSON.
    level: Mutex<Option<String>>,
    /// What the client may see, and what that hung on.
    seen_view: Mutex<Option<(Basis, Arc<Seen>)>>,
    pending: Mutex<HashMap<u64, Pending>>,
    next: AtomicU64,
    /// Messages that belong to no request, for the one stream of a client with a session.
    outbox: Arc<Feed>,
    /// Streams of requests, oldest first.
    feeds: Mutex<VecDeque<Arc<Feed>>>,
    held: Arc<Held>,
    /// The streams of a client without sessions, each with what it wants to hear.
    pub(crate) listeners: Listeners,
    /// Calls that wait for their client to bring what a server asked for.
    pub(crate) parking: Parking,
    /// What is watched at servers without sessions.
    pub(crate) watches: Watches,
    /// Seconds since the epoch.
    seen: AtomicI64,
    /// Places for programs of Code Mode.
    pub(crate) programs: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
}

/// A question that a client has been sent, by where its answer goes.
pub(crate) enum Pending {
    /// To the server that asked, under its id there.
    Server { link: Arc<Link>, server: ServerId, id: Id },
    /// To whoever waits for it here.
    Here(oneshot::Sender<Result<Box<RawValue>, RpcError>>),
}

/// A request that a server works on.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) link: Arc<Link>,
    /// Its id at the server.
    pub(crate) id: Id,
    /// Ends the work on it here.
    pub(crate) cancelled: CancellationToken,
}

/// Forgets a request when it is answered.
pub(crate) struct RunningGuard {
    session: Arc<Session>,
    key: String,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.session.running.lock().remove(&self.key);
    }
}

/// What a caller sees, with what is made of it when it is first needed.
pub(crate) struct Seen {
    view: View,
    names: OnceLock<Names>,
    index: OnceLock<Index>,
}

impl Seen {
    fn new(view: View) -> Self {
        Self { view, names: OnceLock::new(), index: OnceLock::new() }
    }

    /// Returns the names of its tools in scripts.
    pub(crate) fn names(&self) -> &Names {
        self.names.get_or_init(|| Names::of(&self.view))
    }

    /// Returns the index that its tools are searched with.
    pub(crate) fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::of(&self.view))
    }
}

impl Deref for Seen {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

/// What a view hangs on.
#[derive(Debug)]
struct Basis {
    /// Of the portal.
    revision: u64,
    visitor: Visitor,
    source: IpAddr,
    open: BTreeSet<ApplicationId>,
    switched: Toggles,
}

impl Basis {
    fn is_of(&self, revision: u64, visit: &Visit, switched: &Toggles) -> bool {
        self.revision == revision
            && self.source == visit.source
            && self.open == visit.open
            && self.switched == *switched
            && self.visitor == visit.visitor
    }
}

impl Session {
    /// Returns the link to a server, made by `make` when there is none.
    pub(crate) fn link(&self, server: &str, make: impl FnOnce() -> Link) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(server) {
            return Arc::clone(link);
        }
        let link = Arc::new(make());
        links.insert(server.to_owned(), Arc::clone(&link));
        link
    }

    /// Returns the links that were made.
    pub(crate) fn links(&self) -> Vec<(String, Arc<Link>)> {
        self.links.lock().iter().map(|(server, link)| (server.clone(), Arc::clone(link))).collect()
    }

    /// Forgets links to servers that are not kept, and returns them to be ended.
    pub(crate) fn drop_links(&self, keep: impl Fn(&str, &Link) -> bool) -> Vec<Arc<Link>> {
        let mut links = self.links.lock();
        let gone: Vec<String> =
            links.iter().filter(|(server, link)| !keep(server, link)).map(|(server, _)| server.clone()).collect();
        gone.iter().filter_map(|server| links.remove(server)).collect()
    }

    /// Switches a server on or off.
    pub(crate) fn switch(&self, server: ServerId, on: bool) {
        self.switched.lock().insert(server, on);
    }

    pub(crate) fn level(&self) -> Option<String> {
        self.level.lock().clone()
    }

    pub(crate) fn set_level(&self, level: String) {
        *self.level.lock() = Some(level);
    }

    /// Notes that a server works on a request of the client, for as long as the guard lives. A client that has too many
    /// cannot cancel the further ones.
    pub(crate) fn runs(self: &Arc<Self>, client: &Id, running: Running) -> RunningGuard {
        let key = client.as_json().get().to_owned();
        let mut all = self.running.lock();
        if all.len() < MOST_PENDING {
            all.insert(key.clone(), running);
        }
        RunningGuard { session: Arc::clone(self), key }
    }

    /// Finds what a server works on.
    pub(crate) fn running(&self, client: &str) -> Option<Running> {
        self.running.lock().get(client).cloned()
    }

    /// Returns what a visit sees at the portal as of `revision`, made by `make` when the view that was kept is another's.
    pub(crate) fn view(&self, revision: u64, visit: &Visit, make: impl FnOnce(&Toggles) -> View) -> Arc<Seen> {
        if let Some((basis, view)) = &*self.seen_view.lock()
            && basis.is_of(revision, visit, &self.switched.lock())
        {
            return Arc::clone(view);
        }
        let switched = self.switched.lock().clone();
        let view = Arc::new(Seen::new(make(&switched)));
        let Visit { visitor, source, open, .. } = visit;
        let basis = Basis { revision, visitor: visitor.clone(), source: *source, open: open.clone(), switched };
        *self.seen_view.lock() = Some((basis, Arc::clone(&view)));
        view
    }

    /// Notes a question of a server and returns the id under which the client is asked; `None` when too many are open.
    pub(crate) fn ask(&self, pending: Pending) -> Option<Id> {
        let mut open = self.pending.lock();
        if open.len() >= MOST_PENDING {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, pending);
        Some(Id::number(number))
    }

    /// Takes the question that a client answers.
    pub(crate) fn answered(&self, id: &Id) -> Option<Pending> {
        self.pending.lock().remove(&id.as_number()?)
    }

    /// Sends a message that belongs to no request, to streams that want it. Where nobody listens yet a client with a session
    /// gets it when it does.
    pub(crate) fn tell(&self, message: &Message) {
        match self.version.era() {
            Era::Sessions => self.outbox.push_of(message.to_json().as_bytes(), MOST_WAITING),
            Era::Stateless => self.listeners.tell(message),
        }
    }

    /// Whether a client listens.
    pub(crate) fn listens(&self) -> bool {
        match self.version.era() {
            Era::Sessions => self.outbox.is_read(),
            Era::Stateless => !self.listeners.is_empty(),
        }
    }

    /// Begins to listen. A client that listens twice is sent each message once: on the newer stream.
    ///
    /// # Errors
    /// Never without a place to go on from.
    pub(crate) fn listen(&self) -> Result<Reader, Gone> {
        self.outbox.read(None)
    }

    /// Goes on with a stream after the event that `Last-Event-ID` names.
    ///
    /// # Errors
    /// There is no such stream any more, or not that far back.
    pub(crate) fn resume(&self, last_event: &str) -> Result<Reader, Gone> {
        let (number, event) = feed::place(last_event).ok_or(Gone)?;
        if number == OUTBOX {
            return self.outbox.read(Some(event));
        }
        let found = self.feeds.lock().iter().find(|feed| feed.number() == number).cloned();
        found.ok_or(Gone)?.read(Some(event))
    }

    /// Opens a stream for the answer to a request; `None` when the client has too many under way.
    pub(crate) fn feed(&self) -> Option<Arc<Feed>> {
        let mut feeds = self.feeds.lock();
        let (most, most_ended) = if self.held.is_too_much() { (FEW_FEEDS, 1) } else { (MOST_FEEDS, MOST_ENDED) };
        while feeds.iter().filter(|feed| feed.idle_since().is_some()).count() >= most_ended
            && let Some(oldest) = feeds.iter().position(|feed| feed.idle_since().is_some())
        {
            feeds.remove(oldest);
        }
        if feeds.len() >= most {
            return None;
        }
        let feed = Arc::new(Feed::new(self.next.fetch_add(1, Ordering::Relaxed), Arc::clone(&self.held)));
        feeds.push_back(Arc::clone(&feed));
        Some(feed)
    }

    /// Forgets what nobody came back for.
    fn tidy(&self, now: i64) {
        let at = Instant::now();
        let is_old = |feed: &Arc<Feed>| feed.idle_since().is_some_and(|since| at.duration_since(since) > KEEP_ENDED);
        self.feeds.lock().retain(|feed| !is_old(feed));
        self.parking.sweep(now);
    }
}

/// The sessions of a node.
#[derive(Default)]
pub(crate) struct Sessions {
    table: Mutex<HashMap<String, Arc<Session>>>,
    held: Arc<Held>,
}

impl Sessions {
    /// Opens a session; the holder's oldest makes room. `None` when the node has no room.
    pub(crate) fn open(&self, new: NewSession<'_>, now: i64) -> Option<Opened> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.insert(id, new, now)
    }

    /// Returns the session of a client without one: by who it is and what it says of itself.
    pub(crate) fn implied(&self, new: NewSession<'_>, now: i64) -> Option<Opened> {
        let told = format!(
            "{:?}\0{}\0{}\0{}\0{}\0{}",
            new.holder,
            new.portal,
            new.apart,
            new.client.name,
            new.client.version,
            new.client.capabilities.get()
        );
        let id: String = digest(&SHA256, told.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some(session) = self.find(&id, new.portal, new.holder, now) {
            return Some(Opened { session, displaced: Vec::new() });
        }
        self.insert(id, new, now)
    }

    fn insert(&self, id: String, new: NewSession<'_>, now: i64) -> Option<Opened> {
        let mut table = self.table.lock();
        let mut displaced = Vec::new();
        let mut own: Vec<(i64, String)> = table
            .values()
            .filter(|session| session.holder == new.holder)
            .map(|session| (session.seen.load(Ordering::Relaxed), session.id.clone()))
            .collect();
        // Strangers are not one person whose oldest session could go.
        let bound = if new.holder == Holder::Nobody { MOST / 2 } else { MOST_OF_ONE };
        if own.len() >= bound {
            own.sort_unstable();
            displaced.extend(own.first().and_then(|(_, oldest)| table.remove(oldest)));
        }
        if table.len() >= MOST {
            return None;
        }
        let session = Arc::new(Session {
            id: id.clone(),
            portal: new.portal.to_owned(),
            holder: new.holder,
            version: new.version,
            client: new.client,
            links: Mutex::default(),
            switched: Mutex::default(),
            running: Mutex::default(),
            level: Mutex::default(),
            seen_view: Mutex::default(),
            pending: Mutex::default(),
            next: AtomicU64::new(OUTBOX + 1),
            outbox: Arc::new(Feed::new(OUTBOX, Arc::clone(&self.held))),
            feeds: Mutex::default(),
            held: Arc::clone(&self.held),
            listeners: Listeners::default(),
            parking: Parking::default(),
            watches: Watches::default(),
            seen: AtomicI64::new(now),
            programs: Arc::new(Semaphore::new(MOST_PROGRAMS)),
            stop: CancellationToken::new(),
        });
        table.insert(id, Arc::clone(&session));
        Some(Opened { session, displaced })
    }

    /// Finds a session of a holder at a portal.
    pub(crate) fn find(&self, id: &str, portal: &str, holder: Holder, now: i64) -> Option<Arc<Session>> {
        let table = self.table.lock();
        let session = table.get(id).filter(|session| session.portal == portal && session.holder == holder)?;
        session.seen.store(now, Ordering::Relaxed);
        Some(Arc::clone(session))
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str, portal: &str, holder: Holder) -> Option<Arc<Session>> {
        let mut table = self.table.lock();
        table.get(id).filter(|session| session.portal == portal && session.holder == holder)?;
        table.remove(id)
    }

    /// Takes out the sessions that were idle for too long, and what is left over in the others.
    pub(crate) fn sweep(&self, now: i64) -> Vec<Arc<Session>> {
        let all: Vec<Arc<Session>> = self.table.lock().values().cloned().collect();
        for session in all {
            session.tidy(now);
        }
        let idle = i64::try_from(IDLE.as_secs()).unwrap_or(i64::MAX);
        self.remove(|session| session.seen.load(Ordering::Relaxed).saturating_add(idle) < now)
    }

    /// Takes out every session that `gone` names.
    pub(crate) fn remove(&self, gone: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut table = self.table.lock();
        let ids: Vec<String> = table.iter().filter(|(_, session)| gone(session)).map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| table.remove(id)).collect()
    }

    /// Returns every session at a portal.
    pub(crate) fn at(&self, portal: &str) -> Vec<Arc<Session>> {
        self.table.lock().values().filter(|session| session.portal == portal).cloned().collect()
    }

    /// Returns every session of a holder.
    pub(crate) fn of(&self, holder: Holder) -> Vec<Arc<Session>> {
        self.table.lock().values().filter(|session| session.holder == holder).cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }
}

/// What a session is made from.
pub(crate) struct NewSession<'a> {
    pub(crate) portal: &'a str,
    pub(crate) holder: Holder,
    pub(crate) version: Version,
    pub(crate) client: Client,
    /// Keeps implied sessions of one holder apart: the sign-in of a person's agent.
    pub(crate) apart: &'a str,
}

/// A session, and the ones that made room for it: their links are to be ended.
pub(crate) struct Opened {
    pub(crate) session: Arc<Session>,
    pub(crate) displaced: Vec<Arc<Session>>,
}

#[cfg(test)]
mod tests {
    use mcp::raw::raw;
    use serde_json::json;
    use types::UserId;
    use uuid::Uuid;

    use super::*;

    fn new(holder: Holder) -> NewSession<'static> {
        NewSession {
            portal: "work",
            holder,
            version: Version::V2025_11_25,
            client: Client { name: "test".into(), version: "1".into(), capabilities: raw(&json!({})) },
            apart: "",
        }
    }

    const ANA: Holder = Holder::Person(UserId(Uuid::from_u128(1)));
    const BOB: Holder = Holder::Person(UserId(Uuid::from_u128(2)));

    #[test]
    fn a_session_is_found_for_its_holder_at_its_portal_alone() {
        let sessions = Sessions::default();
        let session = sessions.open(new(ANA), 0).unwrap().session;
        assert!(sessions.find(&session.id, "work", ANA, 1).is_some());
        assert!(sessions.find(&session.id, "work", BOB, 1).is_none());
        assert!(sessions.find(&session.id, "play", ANA, 1).is_none());
        assert!(sessions.end(&session.id, "work", BOB).is_none());
        assert!(sessions.end(&session.id, "work", ANA).is_some());
        assert!(sessions.find(&session.id, "work", ANA, 1).is_none());
    }

    #[test]
    fn the_oldest_session_of_a_holder_makes_room_and_nobody_elses() {
        let sessions = Sessions::default();
        let of_bob = sessions.open(new(BOB), 0).unwrap().session;
        let first = sessions.open(new(ANA), 1).unwrap().session;
        for at in 1..MOST_OF_ONE {
            assert!(sessions.open(new(ANA), 1 + at as i64).unwrap().displaced.is_empty());
        }
        let displaced = sessions.open(new(ANA), 1_000).unwrap().displaced;
        assert_eq!(displaced.iter().map(|session| &session.id).collect::<Vec<_>>(), [&first.id]);
        assert!(sessions.find(&of_bob.id, "work", BOB, 2).is_some());
    }

    #[test]
    fn sessions_end_after_a_day_without_a_request() {
        let sessions = Sessions::default();
        let session = sessions.open(new(ANA), 0).unwrap().session;
        let day = 24 * 3_600;
        assert!(sessions.sweep(day).is_empty());
        sessions.find(&session.id, "work", ANA, day).unwrap();
        assert!(sessions.sweep(2 * day).is_empty());
        assert_eq!(sessions.sweep(2 * day + 1).len(), 1);
    }

    #[test]
    fn a_client_without_sessions_is_known_again_by_what_it_says_of_itself() {
        let sessions = Sessions::default();
        let first = sessions.implied(new(ANA), 0).unwrap().session;
        assert!(Arc::ptr_eq(&first, &sessions.implied(new(ANA), 1).unwrap().session));
        assert!(!Arc::ptr_eq(&first, &sessions.implied(new(BOB), 1).unwrap().session));
        let mut other = new(ANA);
        other.client.capabilities = raw(&json!({"elicitation": {}}));
        assert!(!Arc::ptr_eq(&first, &sessions.implied(other, 1).unwrap().session));
    }

    #[tokio::test]
    async fn messages_wait_for_a_listener_and_the_oldest_of_too_many_are_dropped() {
        let sessions = Sessions::default();
        let session = sessions.open(new(ANA), 0).unwrap().session;
        for number in 0..MOST_WAITING + 2 {
            session.tell(&Message::notification("n", &json!({"n": number})));
        }
        let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut listener = session.listen().unwrap();
        assert!(text(listener.next().await.unwrap()).contains("{\"n\":2}"));
        let mut newer = session.listen().unwrap();
        assert!(listener.next().await.is_none());
        assert!(text(newer.next().await.unwrap()).starts_with("id: 0-4\n"));
        let mut resumed = session.resume("0-3").unwrap();
        assert!(text(resumed.next().await.unwrap()).starts_with("id: 0-4\n"));
        for nowhere in ["0-1", "9-1", "nonsense", "0-", "-"] {
            assert!(session.resume(nowhere).is_err(), "{nowhere}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_have_ended_are_forgotten_after_a_while_and_when_there_are_many() {
        let sessions = Sessions::default();
        let session = sessions.open(new(ANA), 0).unwrap().session;
        for _ in 0..3 * MOST_ENDED {
            session.feed().unwrap().end();
        }
        assert_eq!(session.feeds.lock().len(), MOST_ENDED);
        tokio::time::advance(KEEP_ENDED + Duration::from_secs(1)).await;
        sessions.sweep(0);
        assert!(session.feeds.lock().is_empty());
        let under_way: Vec<_> = (0..MOST_FEEDS).map(|_| session.feed().unwrap()).collect();
        assert!(session.feed().is_none());
        drop(under_way);
    }
}
