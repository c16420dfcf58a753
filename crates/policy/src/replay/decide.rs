//! What a rule set would do about one recorded request or connection: the stages of the gateway, walked again.
//!
//! Where a fact is lost it asks; [`super::compare`] answers every way there is. Decides nothing by itself. Invariant: with
//! every question answered as it truly was, the fate is the one the gateway would have given.

use std::collections::HashSet;
use std::sync::Arc;

use expr::{Facts, FieldSet, Outcome, Step};
use jiff::Timestamp;
use types::RuleId;

use super::record::{
    BeforeResponse, ConnectionRecord, OfConnection, OfNetwork, RecordedHeaders, WebRecord, WithHeaders, response_fields,
};
use crate::action::{Action, ActionPlan, AllowPlan, OnError};
use crate::facts::email::Canonical;
use crate::hook::{Hook, Phase, http::id as http};
use crate::ruleset::{CompileReport, Marks, RuleRef, Table};

/// Which of the two rule sets a rule is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Both,
    Current,
    Draft,
}

/// A rule set, and what must be known to compare it with another.
pub(super) struct Set {
    pub(super) rules: CompileReport,
    own: Side,
    shared: Arc<HashSet<RuleId>>,
    /// Rules that read no request header but those that are recorded.
    recorded_headers: HashSet<RuleId>,
    /// The rules that the other set does not have, of each table.
    own_l4: Vec<u32>,
    own_off: Vec<u32>,
    own_main: Vec<u32>,
    /// The rules that both sets have stand in the same order in both.
    aligned: bool,
}

impl Set {
    pub(super) fn new(rules: CompileReport, own: Side, shared: Arc<HashSet<RuleId>>) -> Self {
        let main = rules.http.main_table();
        let (mut recorded_headers, mut others) = (HashSet::new(), HashSet::new());
        for (rule, condition) in main.conditions() {
            condition.visit_operands(&mut |operand| {
                operand.visit_paths(&mut |path| {
                    if path.field == http::HEADERS {
                        let recorded =
                            matches!(path.steps.first(), Some(Step::Key(name)) if RecordedHeaders::covers(name));
                        if recorded {
                            recorded_headers.insert(rule.id)
                        } else {
                            others.insert(rule.id)
                        };
                    }
                });
            });
        }
        // Isolation also asks what the client accepts.
        recorded_headers.retain(|id| !others.contains(id));
        for (position, rule) in main.positions() {
            if main.single(position).is_some_and(|single| single.action == Action::Isolate) {
                recorded_headers.remove(&rule.id);
            }
        }
        let own_of = |table: &Table| -> Vec<u32> {
            table.positions().filter(|(_, rule)| !shared.contains(&rule.id)).map(|(position, _)| position).collect()
        };
        let (own_l4, own_off) = (own_of(rules.l4.table()), own_of(rules.http.off_table()));
        let own_main = own_of(main);
        Self { rules, own, shared, recorded_headers, own_l4, own_off, own_main, aligned: false }
    }

    /// Notes of two sets whether what they have in common stands in the same order.
    pub(super) fn align(one: &mut Self, other: &mut Self) {
        let order = |set: &Self| -> Vec<Vec<RuleId>> {
            let tables = [set.rules.l4.table(), set.rules.http.off_table(), set.rules.http.main_table()];
            let of = |table: &Table| {
                table.positions().map(|(_, rule)| rule.id).filter(|id| set.shared.contains(id)).collect()
            };
            tables.map(of).into()
        };
        one.aligned = order(one) == order(other);
        other.aligned = one.aligned;
    }

    /// Tells whether no rule of this set that the other does not have matches a request, whatever was not recorded.
    pub(super) fn is_idle(&self, record: &WebRecord<'_>) -> bool {
        let (connection, at) = (&record.connection, record.at);
        let network = OfNetwork { connection, detected: Some(if record.secure { "tls" } else { "http" }) };
        let before = BeforeResponse(record);
        let main = self.rules.http.main_table();
        let with = record.headers.as_ref().map(|headers| WithHeaders { base: &before, headers });
        let reads_recorded = |position: u32| {
            main.single(position).is_some_and(|rule| self.recorded_headers.contains(&rule.reference.id))
        };
        self.aligned
            && idle(self.rules.l4.table(), &self.own_l4, &network, at)
            && idle(self.rules.http.off_table(), &self.own_off, &before, at)
            && self.own_main.iter().all(|position| match &with {
                Some(with) if reads_recorded(*position) => idle(main, &[*position], with, at),
                _ => idle(main, &[*position], &before, at),
            })
    }

    /// The same of a connection, of which more than one name may be judged.
    pub(super) fn is_idle_about(&self, record: &ConnectionRecord<'_>) -> bool {
        let host = record.connection.host.map_or("", |host| host.0);
        let mut names = record.server_name.into_iter().chain([host]);
        self.aligned
            && names.all(|name| {
                let named = record.connection.named(name);
                let facts = OfConnection { connection: &named, withheld: FieldSet::EMPTY };
                let network = OfNetwork { connection: &named, detected: record.secure.then_some("tls") };
                idle(self.rules.l4.table(), &self.own_l4, &network, record.at)
                    && idle(self.rules.http.off_table(), &self.own_off, &facts, record.at)
                    && idle(self.rules.http.main_table(), &self.own_main, &facts, record.at)
            })
    }

    fn key(&self, rule: RuleId) -> (RuleId, Side) {
        (rule, if self.shared.contains(&rule) { Side::Both } else { self.own })
    }
}

/// Tells whether none of some rules of a table matches, with these facts or with more.
fn idle(table: &Table, positions: &[u32], facts: &dyn Facts, at: Timestamp) -> bool {
    if positions.is_empty() {
        return true;
    }
    let canonical = table.canonical(facts);
    positions
        .iter()
        .all(|position| matches!(table.outcome(*position, facts, canonical.as_ref(), at), None | Some(Outcome::False)))
}

/// What no rule says and decisions hang on.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// TLS is opened at all.
    pub decrypts: bool,
    /// The do-not-inspect list: `host.example`, or `*.host.example` for the name and everything below it.
    pub exempt: Vec<String>,
}

impl Inspection {
    fn exempts(&self, host: &str) -> bool {
        let below = |name: &str| host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        !self.decrypts || self.exempt.iter().any(|one| one.strip_prefix("*.").map_or(host == one, below))
    }
}

/// Something that a decision hangs on and the record does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lost {
    /// A field of a hook.
    Field(Hook, expr::FieldId),
    /// How long ago the person signed in.
    SignInAge,
    /// What a Worker would say, or what it made of the request.
    Worker,
    /// Whether the name that the client asked for led to the address it connected to.
    Resolution,
}

/// A question and the answers there are.
pub(super) struct Ask {
    pub(super) question: Question,
    pub(super) answers: &'static [Answer],
    pub(super) lost: Vec<Lost>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// What comes of holding a rule against the facts, at a stage, about one of the names of a connection.
    Rule((RuleId, Side), Stage, u8),
    /// Whether the person signed in lately enough for a rule.
    Session((RuleId, Side)),
    Worker((RuleId, Side)),
    Resolution,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// It waits for the response.
    Waits,
    /// The Worker changed the request, and nothing tells into what.
    Changed,
}

/// Which facts there are when a rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Those of the connection; the others never come.
    Connection,
    /// Everything but the response, which may come.
    Request,
    /// Everything.
    Response,
}

/// What would be done about a request or connection.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) action: &'static str,
    pub(super) plan: ActionPlan,
    pub(super) rule: Option<Arc<RuleRef>>,
    /// A Worker changed the request, so nothing tells what the rules after it said; the position of its rule.
    pub(super) opaque: bool,
}

impl Fate {
    fn of(plan: &ActionPlan, rule: Option<&Arc<RuleRef>>) -> Self {
        Self { action: plan.word(), plan: plan.clone(), rule: rule.cloned(), opaque: false }
    }

    fn allow() -> Self {
        Self::of(&ActionPlan::Allow(Arc::new(AllowPlan::default())), None)
    }

    fn word(self, action: &'static str) -> Self {
        Self { action, ..self }
    }

    fn block(rule: Option<&Arc<RuleRef>>) -> Self {
        Self::of(&ActionPlan::Block(Arc::default()), rule)
    }

    /// Tells whether somebody would notice which of the two it is.
    pub(super) fn same_effect(&self, other: &Self) -> bool {
        self.action == other.action && self.plan == other.plan
    }
}

/// One attempt to decide, under some answers.
pub(super) struct Attempt<'a> {
    pub(super) set: &'a Set,
    pub(super) inspection: &'a Inspection,
    pub(super) answers: &'a [(Question, Answer)],
}

/// A position in a table, and what was met before it.
struct Walk<'t> {
    table: &'t Table,
    candidates: Vec<u32>,
    canonical: Option<Canonical>,
    position: u32,
    marks: Marks,
    /// Which name of the connection the facts speak of.
    about: u8,
}

enum Met<'t> {
    Match(&'t Arc<RuleRef>),
    /// Its outcome waits for the response.
    Waits(Action),
    Broken(&'t Arc<RuleRef>),
    End,
}

impl<'a> Attempt<'a> {
    fn answer(&self, question: Question) -> Option<Answer> {
        self.answers.iter().find(|(asked, _)| *asked == question).map(|(_, answer)| *answer)
    }

    fn ask(&self, question: Question, answers: &'static [Answer], lost: impl Fn() -> Vec<Lost>) -> Result<Answer, Ask> {
        self.answer(question).ok_or_else(|| Ask { question, answers, lost: lost() })
    }

    /// Decides a recorded web request.
    pub(super) fn web(&self, record: &WebRecord<'_>) -> Result<Fate, Ask> {
        let network =
            OfNetwork { connection: &record.connection, detected: Some(if record.secure { "tls" } else { "http" }) };
        if let Some(stopped) = self.network_rules(&network, record.at)? {
            return Ok(stopped);
        }
        if record.secure {
            let facts = OfConnection { connection: &record.connection, withheld: record.withheld() };
            let host = record.connection.host.map_or("", |host| host.0);
            if let Some(rule) = self.exempt(host, &facts, 0, record.at)? {
                let stopped = if rule.is_none() { self.web_rules_of(&facts, record.at)? } else { None };
                return Ok(stopped.unwrap_or_else(|| Fate::of(&ActionPlan::Off, rule.as_ref())));
            }
        }
        self.request(record)
    }

    /// Decides a recorded connection.
    pub(super) fn connection(&self, record: &ConnectionRecord<'_>) -> Result<Fate, Ask> {
        let (at, connection) = (record.at, &record.connection);
        let host = connection.host.map_or("", |host| host.0);
        if !record.secure {
            if let Some(stopped) = self.network_rules(&OfNetwork { connection, detected: None }, at)? {
                return Ok(stopped);
            }
            let facts = OfConnection { connection, withheld: FieldSet::EMPTY };
            return Ok(self.web_rules_of(&facts, at)?.unwrap_or_else(Fate::allow));
        }
        let by_address = host.parse::<std::net::IpAddr>().is_ok();
        let names: Vec<&str> = match record.server_name {
            Some(name) if by_address => vec![name],
            Some(name) => vec![name, host],
            None => vec![host],
        };
        let judged = match record.server_name {
            Some(name) if by_address => connection.named(name),
            _ => connection.clone(),
        };
        let mut exempt = None;
        for (about, name) in (0..).zip(names) {
            let named = connection.named(name);
            let facts = OfConnection { connection: &named, withheld: FieldSet::EMPTY };
            exempt = self.exempt(name, &facts, about, at)?;
            if exempt.is_none() {
                break;
            }
        }
        if exempt.is_some() && by_address && record.server_name.is_some() && record.decided.action != "off" {
            let answer = self.ask(Question::Resolution, &[Answer::Yes, Answer::No], || vec![Lost::Resolution])?;
            exempt = exempt.filter(|_| answer == Answer::Yes);
        }
        if let Some(stopped) = self.network_rules(&OfNetwork { connection: &judged, detected: Some("tls") }, at)? {
            return Ok(stopped);
        }
        let Some(rule) = exempt else {
            // What its requests come to, nothing tells.
            return Ok(Fate::allow().word("inspect"));
        };
        if rule.is_none()
            && let Some(stopped) =
                self.web_rules_of(&OfConnection { connection: &judged, withheld: FieldSet::EMPTY }, at)?
        {
            return Ok(stopped);
        }
        Ok(Fate::of(&ActionPlan::Off, rule.as_ref()))
    }

    /// Says whether a name is exempt from inspection, and by which rule, if by one.
    #[expect(clippy::option_option, reason = "exempt or not, and by a rule or by the list")]
    fn exempt(
        &self,
        host: &str,
        facts: &dyn Facts,
        about: u8,
        at: Timestamp,
    ) -> Result<Option<Option<Arc<RuleRef>>>, Ask> {
        if !self.inspection.decrypts {
            return Ok(Some(None));
        }
        let mut walk = Walk { about, ..Walk::start(self.set.rules.http.off_table(), facts) };
        match self.next(&mut walk, facts, None, Stage::Connection, at)? {
            Met::Match(rule) => Ok(Some(Some(Arc::clone(rule)))),
            // One that cannot be evaluated exempts nothing, nor do those after it.
            Met::Broken(_) | Met::Waits(_) | Met::End => Ok(self.inspection.exempts(host).then_some(None)),
        }
    }

    /// Network rules, and what they stop.
    fn network_rules(&self, facts: &OfNetwork<'_, '_>, at: Timestamp) -> Result<Option<Fate>, Ask> {
        let mut walk = Walk::start(self.set.rules.l4.table(), facts);
        Ok(match self.next(&mut walk, facts, None, Stage::Connection, at)? {
            Met::Match(rule) => {
                if let ActionPlan::Allow(plan) = &rule.action {
                    self.session(plan, rule)?
                } else {
                    Some(Fate::of(&rule.action, Some(rule)))
                }
            }
            Met::Broken(rule) => Some(broken(rule)),
            Met::Waits(_) | Met::End => None,
        })
    }

    /// Web rules that are settled by what is known of a connection, and what they stop.
    fn web_rules_of(&self, facts: &OfConnection<'_, '_>, at: Timestamp) -> Result<Option<Fate>, Ask> {
        let mut walk = Walk::start(self.set.rules.http.main_table(), facts);
        Ok(match self.next(&mut walk, facts, None, Stage::Connection, at)? {
            Met::Match(rule) => {
                if let ActionPlan::Allow(plan) = &rule.action {
                    self.session(plan, rule)?
                } else {
                    // What cannot be carried out on a connection that is not decrypted stops it.
                    Some(Fate::block(Some(rule)))
                }
            }
            Met::Broken(rule) => Some(broken(rule)),
            Met::Waits(_) | Met::End => None,
        })
    }

    /// An allowing rule may ask for a fresh sign-in, and of when somebody signed in nothing is recorded.
    fn session(&self, plan: &AllowPlan, rule: &Arc<RuleRef>) -> Result<Option<Fate>, Ask> {
        if !plan.check_session.is_some_and(|check| check.enforce) {
            return Ok(None);
        }
        let question = Question::Session(self.set.key(rule.id));
        let fresh = self.ask(question, &[Answer::Yes, Answer::No], || vec![Lost::SignInAge])?;
        Ok((fresh == Answer::No).then(|| Fate::block(Some(rule))))
    }

    /// Web rules of a request that is read: before it is sent, and again when a rule waits for the response.
    fn request(&self, record: &WebRecord<'_>) -> Result<Fate, Ask> {
        let before = BeforeResponse(record);
        let mut walk = Walk::start(self.set.rules.http.main_table(), &before);
        let waiting = loop {
            match self.next(&mut walk, &before, Some(record), Stage::Request, record.at)? {
                Met::Waits(action) => break action,
                met @ (Met::Match(_) | Met::Broken(_) | Met::End) => {
                    if let Some(fate) = self.carry_out(met, &walk, record)? {
                        return Ok(fate);
                    }
                }
            }
        };
        // The rules after the one that waits are held against the request first, unless that one may yet allow it.
        if !matches!(waiting, Action::Allow | Action::Quarantine) {
            let mut ahead = walk.clone_from_here();
            loop {
                match self.next(&mut ahead, &before, Some(record), Stage::Request, record.at)? {
                    Met::Waits(_) => ahead.position += 1,
                    met @ (Met::Match(_) | Met::Broken(_) | Met::End) => match self.carry_out(met, &ahead, record)? {
                        Some(fate) if matches!(fate.plan, ActionPlan::Allow(_) | ActionPlan::Quarantine(_)) => break,
                        Some(fate) => return Ok(fate),
                        None => {}
                    },
                }
            }
        }
        loop {
            let met = self.next(&mut walk, record, Some(record), Stage::Response, record.at)?;
            if let Met::Match(rule) = met
                && asks_worker(&rule.action)
            {
                // It was asked ahead and let the request go, or it is too late to ask.
                if matches!(waiting, Action::Allow | Action::Quarantine) {
                    return Ok(Fate::block(Some(rule)));
                }
                continue;
            }
            if let Some(fate) = self.carry_out(met, &walk, record)? {
                return Ok(fate);
            }
        }
    }

    /// What a verdict leads to; `None`: the rules after it decide.
    fn carry_out(&self, met: Met<'_>, walk: &Walk<'_>, record: &WebRecord<'_>) -> Result<Option<Fate>, Ask> {
        let rule = match met {
            Met::Match(rule) => rule,
            Met::Broken(rule) => return Ok(Some(broken(rule))),
            Met::Waits(_) | Met::End => return Ok(Some(Fate::allow())),
        };
        match &rule.action {
            ActionPlan::Allow(plan) => {
                let refused = self.session(plan, rule)?;
                Ok(Some(refused.unwrap_or_else(|| Fate::of(&rule.action, Some(rule)))))
            }
            // Exempt from scanning, a file is not held back.
            ActionPlan::Quarantine(_) if walk.marks.no_scan => {
                Ok(Some(Fate { rule: Some(Arc::clone(rule)), ..Fate::allow() }))
            }
            ActionPlan::Worker(plan) => self.opinion(rule, plan.script.as_str(), plan.on_error, walk, record),
            ActionPlan::Managed(plan) => {
                let name = format!("managed:{}:{}", plan.template, rule.id);
                self.opinion(rule, &name, OnError::Block, walk, record)
            }
            plan @ (ActionPlan::Block(_)
            | ActionPlan::Redirect(_)
            | ActionPlan::Isolate(_)
            | ActionPlan::Quarantine(_)
            | ActionPlan::Off
            | ActionPlan::NoScan
            | ActionPlan::NoIsolate
            | ActionPlan::Unevaluable(_)) => Ok(Some(Fate::of(plan, Some(rule)))),
        }
    }

    /// A Worker is not asked again: what it said of this request at the time counts, if the record tells it.
    fn opinion(
        &self,
        rule: &Arc<RuleRef>,
        script: &str,
        on_error: OnError,
        walk: &Walk<'_>,
        record: &WebRecord<'_>,
    ) -> Result<Option<Fate>, Ask> {
        let asked = || Fate::of(&rule.action, Some(rule));
        let changed = || {
            let rest_is_shared = self.set.aligned && self.set.own_main.last().is_none_or(|last| *last < walk.position);
            Fate { opaque: !rest_is_shared, ..asked() }.word("worker")
        };
        let key = self.set.key(rule.id);
        if let Some(opinion) = record.opinion.filter(|opinion| opinion.script == script) {
            let decided = record.decided.rule == Some(rule.id.to_string().as_str());
            return Ok(match (opinion.outcome, on_error) {
                ("response", _) => Some(asked()),
                ("request", _) => Some(changed()),
                ("none", _) => None,
                // It failed. After it had sent the request itself it is stopped whatever the rule says.
                _ if decided && record.decided.action == "block" => Some(Fate::block(Some(rule))),
                (_, OnError::Continue) => None,
                (_, OnError::Allow) => Some(Fate { rule: Some(Arc::clone(rule)), ..Fate::allow() }),
                // Another rule decided, so the script had said that its failures let the request go on.
                (_, OnError::Block) if key.1 == Side::Both => None,
                (_, OnError::Block) => Some(asked()),
            });
        }
        if key.1 != Side::Both {
            // The other set does not ask it at all: that it is asked is what changes.
            return Ok(Some(asked()));
        }
        let answers = &[Answer::Yes, Answer::No, Answer::Changed];
        Ok(match self.ask(Question::Worker(key), answers, || vec![Lost::Worker])? {
            Answer::No => None,
            Answer::Changed => Some(changed()),
            Answer::Yes | Answer::Waits => Some(asked()),
        })
    }

    /// Walks to the next rule that says something.
    fn next<'t>(
        &self,
        walk: &mut Walk<'t>,
        facts: &dyn Facts,
        record: Option<&WebRecord<'_>>,
        stage: Stage,
        at: Timestamp,
    ) -> Result<Met<'t>, Ask> {
        loop {
            let from = walk.candidates.partition_point(|candidate| *candidate < walk.position);
            let Some(position) = walk.candidates.get(from).copied() else { return Ok(Met::End) };
            walk.position = position;
            let Some(rule) = walk.table.single(position) else { return Ok(Met::End) };
            match self.hold(walk, facts, record, stage, at)? {
                Held::No => walk.position += 1,
                Held::Broken => {
                    walk.position += 1;
                    return Ok(Met::Broken(rule.reference));
                }
                Held::Waits => return Ok(Met::Waits(rule.action)),
                Held::Yes if rule.action == Action::NoScan => {
                    walk.marks.no_scan = true;
                    walk.position += 1;
                }
                Held::Yes if rule.action == Action::NoIsolate => {
                    walk.marks.no_isolate = true;
                    walk.position = walk.table.after_isolation();
                }
                Held::Yes => {
                    walk.position += 1;
                    return Ok(Met::Match(rule.reference));
                }
            }
        }
    }

    /// Holds one rule against what is known.
    fn hold(
        &self,
        walk: &Walk<'_>,
        facts: &dyn Facts,
        record: Option<&WebRecord<'_>>,
        stage: Stage,
        at: Timestamp,
    ) -> Result<Held, Ask> {
        let Some(rule) = walk.table.single(walk.position) else { return Ok(Held::No) };
        let canonical = walk.canonical.as_ref();
        let mut outcome = walk.table.outcome(walk.position, facts, canonical, at);
        if let (Some(Outcome::Needs(fields)), Some(headers)) =
            (outcome, record.and_then(|record| record.headers.as_ref()))
            && fields.contains(http::HEADERS)
            && self.set.recorded_headers.contains(&rule.reference.id)
        {
            outcome = walk.table.outcome(walk.position, &WithHeaders { base: facts, headers }, canonical, at);
        }
        let fields = match outcome {
            None | Some(Outcome::False) => return Ok(Held::No),
            Some(Outcome::True) => return Ok(Held::Yes),
            Some(Outcome::Error(_)) => return Ok(Held::Broken),
            Some(Outcome::Needs(fields)) => fields,
        };
        let hook = walk.table.hook();
        let coming = fields.difference(hook.fields().later()).difference(never(hook, stage));
        let awaited = if stage == Stage::Request { response_fields() } else { FieldSet::EMPTY };
        let lost = coming.difference(awaited);
        if lost.is_empty() {
            return Ok(if coming.is_empty() { Held::No } else { Held::Waits });
        }
        let key = self.set.key(rule.reference.id);
        if stage == Stage::Response && self.answer(Question::Rule(key, Stage::Request, walk.about)) == Some(Answer::No)
        {
            return Ok(Held::No);
        }
        let may_wait = !rule.fields.intersection(awaited).is_empty();
        let answers: &[Answer] =
            if may_wait { &[Answer::Yes, Answer::No, Answer::Waits] } else { &[Answer::Yes, Answer::No] };
        let lost = || lost.iter().map(|field| Lost::Field(hook, field)).collect();
        Ok(match self.ask(Question::Rule(key, stage, walk.about), answers, lost)? {
            Answer::Yes => Held::Yes,
            Answer::No | Answer::Changed => Held::No,
            Answer::Waits => Held::Waits,
        })
    }
}

/// What one rule comes to.
enum Held {
    Yes,
    No,
    Waits,
    Broken,
}

/// The fields that will never be known at a stage, so that rules that hang on them do not match.
fn never(hook: Hook, stage: Stage) -> FieldSet {
    if hook == Hook::L4 || stage != Stage::Connection {
        return FieldSet::EMPTY;
    }
    crate::hook::PHASES
        .into_iter()
        .filter(|phase| *phase != Phase::Connection)
        .fold(FieldSet::EMPTY, |set, phase| set.union(hook.fields().arriving(phase)))
}

const fn asks_worker(plan: &ActionPlan) -> bool {
    matches!(plan, ActionPlan::Worker(_) | ActionPlan::Managed(_))
}

fn broken(rule: &Arc<RuleRef>) -> Fate {
    Fate::of(&ActionPlan::Unevaluable("the rule cannot be evaluated".into()), Some(rule))
}

impl<'t> Walk<'t> {
    fn start(table: &'t Table, facts: &dyn Facts) -> Self {
        let canonical = table.canonical(facts);
        let mut candidates = Vec::new();
        table.possible(facts, canonical.as_ref(), &mut candidates);
        Self { table, candidates, canonical, position: 0, marks: Marks::default(), about: 0 }
    }

    fn clone_from_here(&self) -> Self {
        Self {
            table: self.table,
            candidates: self.candidates.clone(),
            canonical: self.canonical,
            position: self.position,
            marks: self.marks,
            about: self.about,
        }
    }
}
