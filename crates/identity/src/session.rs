//! Sessions: who is signed in, at which application, until when (reference sections 1.7, 2.1 and 2.10).
//!
//! A session is known by 256 random bits that only the cookie holds; here stands their SHA-256. Whether one still counts
//! is a few comparisons, without a database: against its own end, the time it was idle, and the moments at which the
//! organisation, the person, the application or the session itself were revoked. Time and randomness are arguments.
//! Invariant: what was established before a revocation never counts after it, and a clock that went back ends nothing
//! early and prolongs nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use types::{AccessPolicyId, ApplicationId, UserId};

use crate::application::{LONGEST_GRANT, LONGEST_SESSION};
use crate::evaluation::Frozen;
use crate::identity::Identity;
use crate::mfa_requirement::{Authenticator, Proof};

/// The secret a cookie holds: 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionSecret([u8; 32]);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

impl SessionSecret {
    /// Makes the secret of random bytes.
    #[must_use]
    pub const fn of(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Writes the text a cookie holds: 43 characters of base64url.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads a cookie's value; `None` if it is not a secret.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Returns what the session is known by.
    #[must_use]
    pub fn hash(&self) -> SessionHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        SessionHash(hash)
    }
}

/// What a session is known by; not a secret. A lookup by it tells nothing of the secret by its timing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionHash([u8; 32]);

impl SessionHash {
    /// Takes bytes that were kept.
    #[must_use]
    pub const fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes, to be kept.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Writes the text that tokens carry: 43 characters of base64url.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads that text; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl serde::Serialize for SessionHash {
    /// Writes 64 hexadecimal digits.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&crate::audience::Audience(self.0))
    }
}

impl<'de> serde::Deserialize<'de> for SessionHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = crate::audience::bytes(&text);
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("not a SHA-256 in hexadecimal"))
    }
}

/// Milliseconds since the epoch: a revocation ends what was made in the same second before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Moment(pub i64);

impl Moment {
    /// Returns the moment a while later.
    #[must_use]
    pub fn after(self, length: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// The organisation's session: the person is signed in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Session {
    /// Frozen at sign-in.
    pub identity: Arc<Identity>,
    /// Answers of the sign-in; shared, for most people's are alike.
    pub frozen: Arc<Frozen>,
    pub issued: Moment,
    pub expires: Moment,
    /// When a request last came; moved by [`Session::touch`].
    pub seen: Moment,
    /// When each kind of factor was last proved, in seconds since the epoch; zero is never.
    proofs: [i64; 3],
}

/// A session at one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppSession {
    /// The organisation's session it hangs on.
    pub parent: SessionHash,
    pub application: ApplicationId,
    /// The policy that let the person in.
    pub policy: AccessPolicyId,
    pub issued: Moment,
    pub expires: Moment,
    /// Hash of the binding cookie, when the application asks for one.
    pub binding: Option<SessionHash>,
}

/// Why a session no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("the session has expired")]
    Expired,
    #[error("the session was idle for too long")]
    Idle,
    #[error("the session was ended")]
    Revoked,
    #[error("the session belongs to another application")]
    OtherApplication,
    #[error("the session is not used by the browser it was made for")]
    Unbound,
}

impl Session {
    /// Starts a session.
    #[must_use]
    pub fn start(identity: Arc<Identity>, frozen: Arc<Frozen>, length: Duration, now: Moment) -> Self {
        let expires = now.after(length.min(LONGEST_SESSION));
        Self { identity, frozen, issued: now, expires, seen: now, proofs: [0; 3] }
    }

    /// Tells whether the session counts.
    ///
    /// # Errors
    /// With why it does not.
    pub fn check(
        &self,
        hash: SessionHash,
        revocations: &Revocations,
        idle: Option<Duration>,
        now: Moment,
    ) -> Result<(), Ended> {
        if revocations.end_session(hash, self.identity.user, self.issued) {
            return Err(Ended::Revoked);
        }
        if now >= self.expires {
            return Err(Ended::Expired);
        }
        if idle.is_some_and(|idle| now >= self.seen.after(idle)) {
            return Err(Ended::Idle);
        }
        Ok(())
    }

    /// Notes a request; tells whether the change is worth storing (a minute). The clock's last reading holds, even one
    /// before the reading kept: a moment in the future would put off the end by idleness.
    pub fn touch(&mut self, now: Moment) -> bool {
        let minute = Duration::from_secs(60);
        let worth = now > self.seen.after(minute) || self.seen > now.after(minute);
        self.seen = now;
        worth
    }

    /// Notes a factor that was proved now. An older proof of the kind is replaced.
    pub fn prove(&mut self, kind: Authenticator, now: Moment) {
        self.proofs[kind as usize] = now.seconds();
    }

    /// Forgets proofs, as when the person's factors are reset.
    pub const fn forget_proofs(&mut self) {
        self.proofs = [0; 3];
    }

    /// Returns the factors that were proved.
    #[must_use]
    pub fn proofs(&self) -> Vec<Proof> {
        let kinds = Authenticator::WORDS.iter().map(|(_, kind)| *kind);
        kinds.map(|kind| Proof { kind, at: self.proofs[kind as usize] }).filter(|proof| proof.at != 0).collect()
    }
}

/// Finds how long a session at an application lasts (reference section 1.7): the policy's own length, else the
/// application's, else the organisation's. `device` is the length of a sign-in by the device client, which overrides.
#[must_use]
pub fn app_session_length(
    device: Option<Duration>,
    policy: Option<Duration>,
    application: Option<Duration>,
    organization: Duration,
) -> Duration {
    device.or(policy).or(application).unwrap_or(organization).min(LONGEST_SESSION)
}

impl AppSession {
    /// Tells whether the session counts for a request to `application` that carries `binding`.
    ///
    /// # Errors
    /// With why it does not.
    pub fn check(
        &self,
        user: UserId,
        application: ApplicationId,
        binding: Option<&SessionSecret>,
        revocations: &Revocations,
        now: Moment,
    ) -> Result<(), Ended> {
        if self.application != application {
            return Err(Ended::OtherApplication);
        }
        if revocations.end_session(self.parent, user, self.issued)
            || revocations.end_application(application, self.issued)
        {
            return Err(Ended::Revoked);
        }
        if now >= self.expires {
            return Err(Ended::Expired);
        }
        if let Some(expected) = &self.binding {
            let presented = binding.map(SessionSecret::hash);
            if presented.is_none_or(|hash| verify_slices_are_equal(&hash.0, &expected.0).is_err()) {
                return Err(Ended::Unbound);
            }
        }
        Ok(())
    }
}

/// The moments at which things were revoked. What was made at or before its moment has ended.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    everything: Option<Moment>,
    users: HashMap<UserId, Moment>,
    applications: HashMap<ApplicationId, Moment>,
    sessions: HashMap<SessionHash, Moment>,
    /// The latest moment at which anything known here was issued or revoked.
    latest: Option<Moment>,
}

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    Everything,
    User(UserId),
    Application(ApplicationId),
    Session(SessionHash),
}

impl Revocations {
    /// Returns the moment to issue a session at: now, and after everything that was issued or revoked before, even where
    /// the clock went back. So what is issued after a revocation is never ended by it, and what was issued before always is.
    #[must_use]
    pub fn stamp(&mut self, now: Moment) -> Moment {
        let stamp = self.latest.map_or(now, |latest| now.max(Moment(latest.0.saturating_add(1))));
        self.note(stamp);
        stamp
    }

    /// Notes the moment at which something was issued elsewhere, as when sessions are read from the store.
    pub fn note(&mut self, issued: Moment) {
        self.latest = self.latest.max(Some(issued));
    }

    /// Revokes everything of its kind that was issued before. Returns the moment to tell others, which is now or, where the
    /// clock went back, the latest moment noted. Repeating or reordering revocations changes nothing: the latest holds.
    pub fn revoke(&mut self, what: Revoked, now: Moment) -> Moment {
        self.note(now);
        let now = self.latest.unwrap_or(now);
        self.replay(what, now);
        now
    }

    /// Takes over a revocation that was decided elsewhere, with the moment [`Revocations::revoke`] returned there.
    pub fn replay(&mut self, what: Revoked, now: Moment) {
        self.note(now);
        let slot = match what {
            Revoked::Everything => self.everything.get_or_insert(now),
            Revoked::User(user) => self.users.entry(user).or_insert(now),
            Revoked::Application(application) => self.applications.entry(application).or_insert(now),
            Revoked::Session(session) => self.sessions.entry(session).or_insert(now),
        };
        *slot = (*slot).max(now);
    }

    /// Forgets revocations so old that everything they ended has expired since. Age is counted up to the latest moment
    /// noted, so that a clock that jumps ahead for a while forgets nothing that it needs again.
    pub fn sweep(&mut self, now: Moment) {
        let now = self.latest.map_or(now, |latest| now.min(latest));
        let live = |moment: &Moment| moment.after(LONGEST_SESSION) >= now;
        self.users.retain(|_, moment| live(moment));
        self.sessions.retain(|_, moment| live(moment));
        // The grants of a person and of a session are ended one by one; those of an application are too many for that.
        let governs = |moment: &Moment| moment.after(LONGEST_GRANT) >= now;
        self.everything = self.everything.filter(governs);
        self.applications.retain(|_, moment| governs(moment));
    }

    fn end_session(&self, session: SessionHash, user: UserId, issued: Moment) -> bool {
        let ended = |moment: Option<&Moment>| moment.is_some_and(|moment| issued <= *moment);
        ended(self.everything.as_ref()) || ended(self.users.get(&user)) || ended(self.sessions.get(&session))
    }

    fn end_application(&self, application: ApplicationId, issued: Moment) -> bool {
        self.applications.get(&application).is_some_and(|moment| issued <= *moment)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;
    use types::{AccessPolicyId, ApplicationId, ProviderId, UserId};
    use uuid::Uuid;

    use super::{
        AppSession, Ended, Moment, Revocations, Revoked, Session, SessionHash, SessionSecret, app_session_length,
    };
    use crate::evaluation::Frozen;
    use crate::identity::{Gaps, GroupClaim, Identity, Interner, ProviderClaims};
    use crate::mfa_requirement::Authenticator;
    use crate::provider::ProviderType;

    fn identity(user: u128) -> Identity {
        let group =
            |number: u32| Arc::new(GroupClaim { name: format!("group-{number}").into(), ..GroupClaim::default() });
        let claim = |name: &str| Arc::new((Box::from(name), Box::from("engineering")));
        Identity {
            user: UserId(Uuid::from_u128(user)),
            email: format!("first.last{user}@example.com").parse().unwrap(),
            name: "First Middle Last".into(),
            provider: ProviderId(Uuid::nil()),
            provider_type: ProviderType::Okta,
            signed_in: 1,
            ip: IpAddr::from([10, 0, 0, 1]),
            country: Some(*b"DE"),
            amr: ["pwd".into(), "mfa".into()].into(),
            steps: [ProviderClaims {
                provider: ProviderId(Uuid::nil()),
                groups: (0..8).map(group).collect(),
                claims: [claim("department"), claim("team")].into(),
                gaps: Gaps::NONE,
            }]
            .into(),
        }
    }

    fn session(now: i64) -> Session {
        Session::start(Arc::new(identity(1)), Arc::default(), Duration::from_secs(100), Moment(now))
    }

    fn app(issued: i64) -> AppSession {
        AppSession {
            parent: hash(1),
            application: ApplicationId(Uuid::nil()),
            policy: AccessPolicyId(Uuid::nil()),
            issued: Moment(issued),
            expires: Moment(issued + 1_000),
            binding: None,
        }
    }

    fn hash(number: u8) -> SessionHash {
        SessionSecret::of([number; 32]).hash()
    }

    #[test]
    fn a_session_ends_by_time_idleness_and_revocation() {
        let user = UserId(Uuid::from_u128(1));
        let idle = Some(Duration::from_secs(10));
        for (revoked, at, idle, expected) in [
            (None, 9_999, idle, Ok(())),
            (None, 10_000, idle, Err(Ended::Idle)),
            (None, 99_999, None, Ok(())),
            (None, 100_000, None, Err(Ended::Expired)),
            (None, -5_000, idle, Ok(())),
            (Some((Revoked::User(user), 0)), 1, None, Err(Ended::Revoked)),
            (Some((Revoked::User(user), -1)), 1, None, Ok(())),
            (Some((Revoked::User(UserId(Uuid::nil())), 5)), 6, None, Ok(())),
            (Some((Revoked::Session(hash(1)), 5)), 6, None, Err(Ended::Revoked)),
            (Some((Revoked::Session(hash(2)), 5)), 6, None, Ok(())),
            (Some((Revoked::Everything, 5)), 6, None, Err(Ended::Revoked)),
            (Some((Revoked::Application(ApplicationId(Uuid::nil())), 5)), 6, None, Ok(())),
        ] {
            let mut revocations = Revocations::default();
            if let Some((what, moment)) = revoked {
                revocations.revoke(what, Moment(moment));
            }
            let found = session(0).check(hash(1), &revocations, idle, Moment(at));
            assert_eq!(found, expected, "{revoked:?} at {at}");
        }
    }

    #[test]
    fn an_application_session_is_of_one_application_and_one_browser() {
        let (user, application) = (UserId(Uuid::from_u128(1)), ApplicationId(Uuid::nil()));
        let mut revocations = Revocations::default();
        let now = Moment(10);
        assert_eq!(app(0).check(user, application, None, &revocations, now), Ok(()));
        let other = ApplicationId(Uuid::from_u128(9));
        assert_eq!(app(0).check(user, other, None, &revocations, now), Err(Ended::OtherApplication));
        let bound = AppSession { binding: Some(hash(7)), ..app(0) };
        for (secret, expected) in [
            (Some(SessionSecret::of([7; 32])), Ok(())),
            (Some(SessionSecret::of([8; 32])), Err(Ended::Unbound)),
            (None, Err(Ended::Unbound)),
        ] {
            assert_eq!(bound.check(user, application, secret.as_ref(), &revocations, now), expected);
        }
        revocations.revoke(Revoked::Application(application), Moment(5));
        assert_eq!(app(0).check(user, application, None, &revocations, now), Err(Ended::Revoked));
        assert_eq!(app(6).check(user, application, None, &revocations, now), Ok(()));
    }

    #[test]
    fn the_nearest_length_holds() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (device, policy, application, expected) in [
            (None, None, None, 4),
            (None, None, seconds(3), 3),
            (None, seconds(2), seconds(3), 2),
            (seconds(1), seconds(2), seconds(3), 1),
            (None, seconds(0), seconds(3), 0),
        ] {
            let found = app_session_length(device, policy, application, Duration::from_secs(4));
            assert_eq!(found, Duration::from_secs(expected));
        }
    }

    #[test]
    fn a_secret_is_read_back_and_nothing_else_is_one() {
        let secret = SessionSecret::of([0xA5; 32]);
        assert_eq!(SessionSecret::parse(&secret.text()), Some(secret));
        for text in ["", "x", &"a".repeat(44), &"=".repeat(43), &"é".repeat(21)] {
            assert_eq!(SessionSecret::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_that_moves_brings_no_revoked_session_back() {
        let (user, application) = (UserId(Uuid::from_u128(1)), ApplicationId(Uuid::nil()));
        let mut revocations = Revocations::default();
        // Signed in while the clock was ahead, revoked once it was put right, looked at later.
        let issued = revocations.stamp(Moment(500_000));
        let before = AppSession { expires: Moment(900_000), ..app(issued.0) };
        let moment = revocations.revoke(Revoked::User(user), Moment(1_000));
        for now in [1_000, 2_000, 600_000] {
            let found = before.check(user, application, None, &revocations, Moment(now));
            assert_eq!(found, Err(Ended::Revoked), "at {now}");
        }
        // Signing in again after that counts at once, and is ended by the next revocation.
        let again = app(revocations.stamp(Moment(1_001)).0);
        assert_eq!(again.check(user, application, None, &revocations, Moment(1_002)), Ok(()));
        // Another process learns it and ends the same sessions.
        let mut elsewhere = Revocations::default();
        elsewhere.replay(Revoked::User(user), moment);
        assert_eq!(before.check(user, application, None, &elsewhere, Moment(2_000)), Err(Ended::Revoked));
        // A jump of a century forgets nothing.
        revocations.sweep(Moment(3_000_000_000_000));
        assert_eq!(before.check(user, application, None, &revocations, Moment(2_000)), Err(Ended::Revoked));
        revocations.revoke(Revoked::User(user), Moment(1_003));
        assert_eq!(again.check(user, application, None, &revocations, Moment(1_004)), Err(Ended::Revoked));
    }

    #[test]
    fn revocations_are_forgotten_once_nothing_they_ended_can_live() {
        let mut revocations = Revocations::default();
        revocations.revoke(Revoked::User(UserId(Uuid::nil())), Moment(0));
        revocations.revoke(Revoked::Session(hash(1)), Moment(1_000));
        let month = 31 * 24 * 3_600 * 1_000;
        let later = revocations.stamp(Moment(month + 500));
        revocations.sweep(later);
        assert_eq!((revocations.users.len(), revocations.sessions.len()), (0, 1));
    }

    #[test]
    fn a_request_from_the_future_does_not_put_off_the_end_by_idleness() {
        let mut session = session(0);
        assert!(session.touch(Moment(90_000)));
        assert!(session.touch(Moment(1_000)), "the clock was put right");
        let idle = Some(Duration::from_secs(10));
        assert_eq!(session.check(hash(1), &Revocations::default(), idle, Moment(10_999)), Ok(()));
        assert_eq!(session.check(hash(1), &Revocations::default(), idle, Moment(11_000)), Err(Ended::Idle));
    }

    #[test]
    fn proofs_stand_beside_the_session() {
        let mut session = session(0);
        assert!(session.proofs().is_empty());
        session.prove(Authenticator::SecurityKey, Moment(7_000));
        let proofs = session.proofs();
        assert_eq!((proofs[0].kind, proofs[0].at, proofs.len()), (Authenticator::SecurityKey, 7, 1));
        session.forget_proofs();
        assert!(session.proofs().is_empty());
    }

    /// What one person's session takes beyond itself, counted by hand as the C library allocates: eight bytes of its own,
    /// rounded up to sixteen, at least thirty-two. What people share is counted once for all, so not here.
    fn footprint(session: &Session) -> usize {
        let block = |bytes: usize| if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) };
        let identity = &*session.identity;
        let counted = 2 * size_of::<usize>();
        let steps =
            identity.steps.iter().map(|step| block(size_of_val(&*step.groups)) + block(size_of_val(&*step.claims)));
        block(counted + size_of::<Identity>())
            + block(identity.email.as_str().len())
            + block(identity.name.len())
            + block(size_of_val(&*identity.steps))
            + steps.sum::<usize>()
    }

    #[test]
    fn a_hundred_thousand_sessions_fit_in_sixty_megabytes() {
        let mut interner = Interner::default();
        let frozen = Arc::new(Frozen::default());
        let one = |user, interner: &mut Interner| {
            let identity = Arc::new(interner.share(identity(user)));
            Session::start(identity, Arc::clone(&frozen), Duration::from_secs(1), Moment(0))
        };
        let (first, second) = (one(1, &mut interner), one(2, &mut interner));
        // What people share is held once.
        assert!(Arc::ptr_eq(&first.identity.steps[0].groups[0], &second.identity.steps[0].groups[0]));
        // A hash map is between 7/16 and 7/8 full and keeps one more byte for each place.
        let place = |value: usize| (size_of::<SessionHash>() + value + 1) * 16 / 7;
        let each =
            footprint(&second) + place(size_of::<Arc<Session>>()) + (size_of::<Session>() + 24).next_multiple_of(16);
        assert!(each * 100_000 <= 60_000_000, "{each} bytes each");
        drop((first, second));
        interner.sweep();
    }

    proptest! {
        #[test]
        fn revocations_in_any_order_end_the_same(mut moments in prop::collection::vec((0..4u8, -5..5i64), 0..8), issued in -5..5i64) {
            let what = |kind| match kind {
                0 => Revoked::Everything,
                1 => Revoked::User(UserId(Uuid::from_u128(1))),
                2 => Revoked::Application(ApplicationId(Uuid::nil())),
                _ => Revoked::Session(hash(1)),
            };
            let apply = |moments: &[(u8, i64)]| {
                let mut revocations = Revocations::default();
                for (kind, moment) in moments {
                    revocations.replay(what(*kind), Moment(*moment));
                }
                app(issued).check(UserId(Uuid::from_u128(1)), ApplicationId(Uuid::nil()), None, &revocations, Moment(issued))
            };
            let expected = moments.iter().any(|(_, moment)| issued <= *moment);
            prop_assert_eq!(apply(&moments) == Err(Ended::Revoked), expected);
            let before = apply(&moments);
            moments.reverse();
            prop_assert_eq!(before, apply(&moments));
        }
    }
}
