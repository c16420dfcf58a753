//! From a plan to records in the order of their time.
//!
//! Hours get their share of the records by how busy the offices are, and within an hour a handful of sessions go on at
//! once, each somebody at one application. Invariant: exactly as many records as planned, none outside the period, ids
//! strictly ascending.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use logs::{AccessRequest, AsRecord, Dataset, GatewayHttp, GatewayNetwork, McpCall, Record, RecordMut};
use types::AccountId;
use uuid::Uuid;

use crate::applications::{Application, built_in};
use crate::session::{Session, Subject};
use crate::world::{Hour, Today, World};
use crate::write;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Whose records.
    pub account: AccountId,
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub to: Timestamp,
    /// How many records, of all datasets together.
    pub rows: u64,
    /// How many people there are.
    pub people: usize,
    /// What they use.
    pub applications: Vec<Application>,
    /// Which records to make.
    pub share: Share,
}

/// Which records to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Of every dataset, as they would come.
    Everything,
    /// Web requests alone.
    WebOnly,
}

impl Plan {
    /// Plans the days before `to`, with people in proportion and the applications of this crate.
    #[must_use]
    pub fn last_days(account: AccountId, to: Timestamp, days: u32, rows: u64) -> Self {
        let from = to.checked_sub(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MIN);
        let daily = rows / u64::from(days.max(1));
        // A person makes some hundreds of requests a day; a small sample still needs a crowd.
        let people = usize::try_from(daily / 300).unwrap_or(usize::MAX).clamp(160, 20_000);
        Self { seed: 1, account, from, to, rows, people, applications: built_in(), share: Share::Everything }
    }
}

/// A plan that cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The period ends before it begins.
    #[error("the period is empty")]
    Period,
    /// There is nobody.
    #[error("there must be at least one person")]
    People,
    /// There is nothing to use.
    #[error("there must be applications that are inspected, with hosts and weights")]
    Applications,
}

/// A record, lent until the next one is asked for.
pub enum Lent<'a> {
    /// A web request.
    Http(&'a mut GatewayHttp),
    /// A connection.
    Network(&'a mut GatewayNetwork),
    /// A sign-in.
    Access(&'a mut AccessRequest),
    /// A call through a portal.
    Mcp(&'a mut McpCall),
}

impl AsRecord for Lent<'_> {
    fn as_record(&mut self) -> RecordMut<'_> {
        match self {
            Self::Http(record) => RecordMut::GatewayHttp(record),
            Self::Network(record) => RecordMut::GatewayNetwork(record),
            Self::Access(record) => RecordMut::AccessRequests(record),
            Self::Mcp(record) => RecordMut::McpPortalLogs(record),
        }
    }
}

impl Lent<'_> {
    /// Returns the record's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Self::Http(record) => record.id,
            Self::Network(record) => record.id,
            Self::Access(record) => record.id,
            Self::Mcp(record) => record.id,
        }
    }

    /// Returns the dataset it belongs to.
    #[must_use]
    pub const fn dataset(&self) -> Dataset {
        match self {
            Self::Http(_) => Dataset::GatewayHttp,
            Self::Network(_) => Dataset::GatewayNetwork,
            Self::Access(_) => Dataset::AccessRequests,
            Self::Mcp(_) => Dataset::McpPortalLogs,
        }
    }

    /// Returns a copy to keep.
    #[must_use]
    pub fn to_record(&self) -> Record {
        match self {
            Self::Http(record) => (**record).clone().into(),
            Self::Network(record) => (**record).clone().into(),
            Self::Access(record) => (**record).clone().into(),
            Self::Mcp(record) => (**record).clone().into(),
        }
    }
}

/// Makes the records of a plan, one after the other.
pub struct Generator {
    world: World,
    hours: Vec<Hour>,
    /// Index of the hour that is under way.
    hour: usize,
    /// Records of it that are made.
    made: u64,
    today: Today,
    sessions: Vec<Session>,
    random: Rng,
    /// The last 62 bits of every id, as those of a thread of the platform.
    node: u64,
    last_id: u128,
    rows: u64,
    remaining: u64,
    http: Box<GatewayHttp>,
    network: Box<GatewayNetwork>,
    access: Box<AccessRequest>,
    mcp: Box<McpCall>,
}

/// Seconds that a session lasts, about.
const SESSION_SECONDS: i64 = 240;
/// Sessions that one going-on hour holds at most.
const MOST_SESSIONS: u64 = 65_536;

impl Generator {
    /// Prepares the people, their habits and the hours.
    ///
    /// # Errors
    ///
    /// [`PlanError`].
    pub fn new(plan: &Plan) -> Result<Self, PlanError> {
        let world = World::new(plan)?;
        let hours = world.hours(plan);
        let today = Today::new(&world, 0.0);
        let account = plan.account.to_string();
        let mut this = Self {
            world,
            hours,
            hour: 0,
            made: 0,
            today,
            sessions: Vec::new(),
            random: Rng::with_seed(plan.seed),
            node: Rng::with_seed(!plan.seed).u64(..) >> 2,
            last_id: 0,
            rows: plan.rows,
            remaining: plan.rows,
            http: Box::default(),
            network: Box::default(),
            access: Box::default(),
            mcp: Box::default(),
        };
        write::prepare_http(&mut this.http, &account);
        write::prepare_network(&mut this.network, &account);
        write::prepare_access(&mut this.access, &account);
        write::prepare_mcp(&mut this.mcp, &account);
        Ok(this)
    }

    /// How many records there are in all.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// How many are still to come.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Makes the next record, in the place of the one before.
    pub fn advance(&mut self) -> Option<Lent<'_>> {
        let at = self.next_moment()?;
        self.remaining -= 1;
        let place = self.session_at(at);
        let id = self.id(at);
        let Self { world, sessions, random, http, network, access, mcp, .. } = self;
        let session = &mut sessions[place];
        session.left = session.left.saturating_sub(1);
        let at = Timestamp::from_microsecond(at).unwrap_or_default();
        Some(match session.subject {
            Subject::Web => {
                write::http(http, world, session, (id, at), random);
                Lent::Http(http)
            }
            Subject::Connection => {
                write::network(network, world, session, (id, at), random);
                Lent::Network(network)
            }
            Subject::SignIn => {
                write::access(access, world, session, (id, at), random);
                // What it was for comes next.
                session.subject = Subject::Web;
                Lent::Access(access)
            }
            Subject::Portal => {
                write::mcp(mcp, world, session, (id, at), random);
                Lent::Mcp(mcp)
            }
        })
    }

    /// The time of the next record, in microseconds; the records of an hour lie evenly in it, each moved a little.
    fn next_moment(&mut self) -> Option<i64> {
        loop {
            let hour = self.hours.get(self.hour)?;
            if self.made < hour.records {
                let place = self.made as f64 + f64::from(self.random.u32(..)) / 4_294_967_296.0;
                self.made += 1;
                let moment = hour.start + (place * hour.length as f64 / hour.records as f64) as i64;
                return Some(moment.min(hour.start + hour.length - 1));
            }
            self.hour += 1;
            self.made = 0;
            let Some(next) = self.hours.get(self.hour) else { continue };
            if next.day != hour.day {
                self.today = Today::new(&self.world, next.progress);
            }
        }
    }

    /// Chooses the session that acts, and begins sessions as others end.
    fn session_at(&mut self, at: i64) -> usize {
        let Self { world, hours, hour, today, sessions, random, .. } = self;
        let hour = &hours[*hour];
        let per_session = (hour.length / 1_000_000 / SESSION_SECONDS).max(1) * Session::TYPICAL_REQUESTS;
        let wanted = (hour.records / per_session.unsigned_abs().max(1)).clamp(1, MOST_SESSIONS) as usize;
        if sessions.len() < wanted {
            sessions.push(Session::begin(world, today, hour, at, random));
            return sessions.len() - 1;
        }
        let place = (random.u32(..) as usize) % sessions.len();
        if sessions[place].left > 0 && at < sessions[place].until {
            return place;
        }
        if sessions.len() > wanted {
            sessions.swap_remove(place);
            // One of the others goes on, or is followed by somebody else.
            let place = place.min(sessions.len() - 1);
            if sessions[place].left > 0 && at < sessions[place].until {
                return place;
            }
            sessions[place] = Session::begin(world, today, hour, at, random);
            return place;
        }
        sessions[place] = Session::begin(world, today, hour, at, random);
        place
    }

    /// A UUID of version 7 (RFC 9562, method 3): milliseconds, then a fraction of one, then chance.
    fn id(&mut self, at: i64) -> Uuid {
        let (milliseconds, micros) = (at.div_euclid(1_000), at.rem_euclid(1_000));
        let fraction = micros * 4_096 / 1_000;
        let id = (milliseconds.unsigned_abs() as u128) << 80
            | 0x7 << 76
            | (fraction.unsigned_abs() as u128) << 64
            | 0x2 << 62
            | u128::from(self.node);
        // Two in the same fraction keep their order.
        self.last_id = if id > self.last_id { id } else { self.last_id + 1 };
        Uuid::from_u128(self.last_id)
    }
}

impl Iterator for Generator {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.advance().map(|lent| lent.to_record())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        (remaining, Some(remaining))
    }
}
