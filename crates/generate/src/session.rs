//! Somebody at one application for a while: what goes on, and which rule has something to say about it.
//!
//! Invariant: everything about a session that stays the same is decided at its beginning.

use fastrand::Rng;

use crate::applications::{Kind, Status};
use crate::calendar::{ABROAD, OFFICES};
use crate::generator::Share;
use crate::random::{once_in, scattered, share};
use crate::world::{Hour, Target, Today, World};

/// What records a session leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Web requests.
    Web,
    /// Connections that are not looked into.
    Connection,
    /// A sign-in, and web requests after it.
    SignIn,
    /// Calls through the MCP portal.
    Portal,
}

/// The rule that decides about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruled {
    /// None.
    Nothing,
    /// Everything is blocked.
    Unapproved,
    /// Known for bad things.
    Security,
    /// The first page is a reminder.
    Coached,
    /// Sent to what is to be used in its place.
    Redirected,
    /// Files do not go up.
    NoUploads,
    /// A Worker looks at it and lets it pass.
    Worker,
}

pub(crate) struct Session {
    pub subject: Subject,
    pub ruled: Ruled,
    pub person: usize,
    pub device: usize,
    pub target: usize,
    pub host: usize,
    pub country: &'static str,
    pub continent: &'static str,
    /// Whether they are where their office is.
    pub away: bool,
    /// The connection, as the 36 letters of a UUID.
    pub id: [u8; 36],
    pub port: u16,
    /// Requests still to come.
    pub left: u32,
    /// Whether nothing of it was recorded yet.
    pub first: bool,
    /// Unix microseconds after which it is over.
    pub until: i64,
}

/// Which part of the period is over before a rule is there: the administrators learn as they go.
const UPLOADS_FROM: f64 = 0.2;
const REDIRECT_FROM: f64 = 0.35;
const BLOCK_FROM: f64 = 0.45;
const COACH_FROM: f64 = 0.6;

impl Session {
    /// Requests of a session, about.
    pub(crate) const TYPICAL_REQUESTS: i64 = 12;
    const LONGEST: i64 = 25 * 60 * 1_000_000;

    pub(crate) fn begin(world: &World, today: &Today, hour: &Hour, at: i64, random: &mut Rng) -> Self {
        let office = hour.offices.as_ref().map_or(0, |offices| offices.draw(random));
        let (staff, weighted) = &world.staff[office];
        let person = staff[weighted.draw(random)];
        let somebody = &world.people[person];
        let target = choose(world, today, person, random);
        let used = &world.targets[target];
        let device = (random.u32(..) as usize) % somebody.devices.len();
        let host = if once_in(3, random) { (random.u32(..) as usize) % used.hosts.len() } else { 0 };
        let (country, continent, away) = whereabouts(person, office, at);
        let subject = subject(world.share, used.application.kind, random);
        let ruled = ruled(used, today.progress, person);
        let requests = match ruled {
            Ruled::Unapproved | Ruled::Security | Ruled::Redirected => 1 + random.u32(..) % 3,
            Ruled::Nothing | Ruled::Coached | Ruled::NoUploads | Ruled::Worker => 4 + random.u32(..) % 18,
        };
        let mut id = [0; 36];
        let milliseconds = at.div_euclid(1_000).unsigned_abs();
        let bytes =
            (u128::from(milliseconds) << 80 | 0x7 << 76 | 0x2 << 62 | u128::from(random.u64(..) >> 2)).to_be_bytes();
        uuid::Uuid::from_bytes(bytes).as_hyphenated().encode_lower(&mut id);
        Self {
            subject,
            ruled,
            person,
            device,
            target,
            host,
            country,
            continent,
            away,
            id,
            port: 32_768 + (random.u16(..) >> 2),
            left: if subject == Subject::Connection { 1 + requests / 3 } else { requests },
            first: true,
            until: at + Self::LONGEST,
        }
    }

    /// The id as text.
    pub(crate) fn id(&self) -> &str {
        str::from_utf8(&self.id).unwrap_or_default()
    }
}

/// Chooses what somebody uses; who has not taken to artificial intelligence yet uses something else.
fn choose(world: &World, today: &Today, person: usize, random: &mut Rng) -> usize {
    let somebody = &world.people[person];
    let Some(uses) = today.uses(somebody.department) else { return world.fallback };
    for _ in 0..6 {
        let target = uses.draw(random);
        let kind = world.targets[target].application.kind;
        let inspected = world.share == Share::Everything || kind != Kind::NotInspected;
        if inspected && (!(kind.is_ai() || kind == Kind::Mcp) || somebody.reluctance < today.adoption) {
            return target;
        }
    }
    world.fallback
}

fn subject(wanted: Share, kind: Kind, random: &mut Rng) -> Subject {
    if wanted == Share::WebOnly {
        return Subject::Web;
    }
    if kind == Kind::NotInspected {
        Subject::Connection
    } else if kind == Kind::Internal && once_in(3, random) {
        Subject::SignIn
    } else if kind == Kind::Mcp && once_in(2, random) {
        Subject::Portal
    } else {
        Subject::Web
    }
}

fn ruled(target: &Target, progress: f64, person: usize) -> Ruled {
    let application = &target.application;
    if target.suspicious {
        return Ruled::Security;
    }
    if application.kind == Kind::Internal && application.name.starts_with("Finance") {
        return Ruled::Worker;
    }
    match application.status {
        // One assistant was popular, and people are led to the one that is paid for.
        Status::Unapproved
            if application.kind == Kind::Assistant && progress > REDIRECT_FROM && target.owner & 1 == 0 =>
        {
            Ruled::Redirected
        }
        Status::Unapproved if progress > BLOCK_FROM => Ruled::Unapproved,
        Status::InReview if progress > UPLOADS_FROM => Ruled::NoUploads,
        // Not everybody: who has confirmed it once is not asked again.
        Status::Unreviewed
            if application.kind.is_ai() && progress > COACH_FROM && !confirmed(target, progress, person) =>
        {
            Ruled::Coached
        }
        Status::Unapproved | Status::InReview | Status::Unreviewed | Status::Approved => Ruled::Nothing,
    }
}

fn confirmed(target: &Target, progress: f64, person: usize) -> bool {
    share(target.owner ^ scattered(person as u64)) < (progress - COACH_FROM) * 1.5
}

/// Where somebody is: at their office, or for some weeks of the year elsewhere.
fn whereabouts(person: usize, office: usize, at: i64) -> (&'static str, &'static str, bool) {
    const WEEK: i64 = 7 * 86_400_000_000;
    let week = scattered(scattered(person as u64) ^ at.div_euclid(WEEK).unsigned_abs());
    if week.is_multiple_of(23) {
        let (country, continent) = ABROAD[(week >> 32) as usize % ABROAD.len()];
        return (country, continent, true);
    }
    (OFFICES[office].country, OFFICES[office].continent, false)
}
