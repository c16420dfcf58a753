//! Whether a request may go to its server: the rules, and what they ask of people and Workers first.
//!
//! The rules of the portal are held against it, then those of the server, with what a Worker of the former changed. What
//! asks a person comes last, so that they confirm what will be sent. Invariant: nothing goes on before every condition
//! that some rule named is met; a condition nobody can meet blocks under the name of its rule.

use std::sync::Arc;

use mcp::catalog::Definition;
use mcp::document::rule::{OnError, ToolRule};
use mcp::message::{Id, Message, Response, RpcError};
use mcp::raw;
use policy::facts::mcp::Arguments;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use types::UserId;

use crate::asks::{self, Call, Factor, New, Standing, What};
use crate::confirm;
use crate::elicit::{self, Need};
use crate::facts::{self, PersonFacts};
use crate::record::{Outcome, Recording};
use crate::redact;
use crate::rules::{self, Condition, Redaction, Ruling, Verdict};
use crate::snapshot::Served;
use crate::turn::{self, Turn};
use crate::workers::{self, Word};

/// The code of the error that names the rule a request did not pass. Of the range JSON-RPC leaves to servers; MCP gives
/// policy none.
pub(crate) const BLOCKED: i64 = -32_010;

/// One request that a server would answer.
pub(crate) struct Case<'a> {
    pub(crate) turn: &'a Arc<Turn>,
    pub(crate) served: &'a Served,
    pub(crate) definition: &'a Definition,
    pub(crate) method: &'static str,
    /// What the client answers in advance to what the server would ask (`inputResponses`, 2026-07-28).
    pub(crate) input: Option<&'a RawValue>,
}

/// What goes on.
pub(crate) struct Admitted {
    pub(crate) arguments: Option<Box<RawValue>>,
    pub(crate) redactions: Vec<Redaction>,
}

/// Why a request does not reach its server.
#[derive(Debug)]
pub(crate) enum Stopped {
    Error(RpcError, Outcome),
    /// It was answered in the server's place.
    Answered(Box<RawValue>),
    /// A person has to visit a page first; the rule that says so.
    Visit(Need, String),
}

impl Stopped {
    /// Makes the client's answer of it.
    pub(crate) fn answer(self, turn: &Turn, (method, id): (&str, Id), inner: bool, recording: Recording) -> Message {
        match self {
            Self::Error(error, outcome) => {
                recording.end(outcome);
                Message::error(id, error)
            }
            Self::Answered(result) => {
                recording.end(Outcome::Success);
                Message::Response(Response { id, result: turn::completed(turn, method, result) })
            }
            Self::Visit(need, rule) => {
                recording.end(Outcome::Blocked(rule));
                elicit::answer(turn, (method, id), &need, inner)
            }
        }
    }
}

/// Holds a request against the rules.
///
/// # Errors
/// With what the client is answered instead.
pub(crate) async fn admit(
    case: &Case<'_>,
    mut arguments: Option<Box<RawValue>>,
    recording: &mut Recording,
) -> Result<Admitted, Stopped> {
    let (mut waits, mut redactions) = (Vec::new(), Vec::new());
    let mut value = None;
    for list in [&case.turn.portal.settings.rules, &case.served.server.rules] {
        let Some(first) = list.iter().find(|rule| rule.enabled) else { continue };
        if value.is_none() {
            let read = arguments.as_deref().map(|arguments| serde_json::from_str(arguments.get()));
            value = read.transpose().map_err(|_| blocked(&first.name, Some("its arguments cannot be read")))?;
        }
        let ruling = hold(case, list, value.as_ref());
        recording.note(|record| record.rules.extend(ruling.by));
        if let Verdict::Block { rule, message } = &ruling.verdict {
            return Err(blocked(rule, message.as_deref()));
        }
        for condition in ruling.conditions {
            match condition {
                Condition::Worker { rule, script, on_error } => {
                    let word = workers::ask(&*case.turn.plane.workers, &script, case, (&rule, arguments.as_deref()));
                    if let Some(changed) = heard(&rule, on_error, word.await)? {
                        (arguments, value) = (Some(changed), None);
                    }
                }
                Condition::Factor { .. } | Condition::Approval { .. } => waits.push(condition),
            }
        }
        redactions.extend(ruling.redactions);
    }
    let arguments = match redactions.as_slice() {
        [] => arguments,
        redactions => arguments.map(|arguments| redact::apply(redactions, &arguments)),
    };
    // Whoever confirms has proved who they are first.
    waits.sort_by_key(|condition| matches!(condition, Condition::Approval { .. }));
    let mut single = Vec::new();
    for condition in &waits {
        single.extend(meet(case, condition, arguments.as_deref())?);
    }
    if let Some((person, condition)) = case.turn.visitor.person().zip(waits.last())
        && !single.is_empty()
        && !case.turn.plane.asks.use_up(person.user, &single)
    {
        return Err(blocked(condition.rule(), Some("its confirmation was used by another call just now")));
    }
    Ok(Admitted { arguments, redactions })
}

fn hold(case: &Case<'_>, list: &[ToolRule], arguments: Option<&Value>) -> Ruling {
    let none = Arguments::default();
    let indexed = match arguments {
        Some(value) => Arguments::index(value),
        None => Some(none),
    };
    let turn = case.turn;
    let caller = PersonFacts::of(&turn.visitor);
    let about = facts::About {
        portal: turn.portal.settings.id.as_str(),
        server: Some(case.served.id.as_str()),
        method: case.method,
        subject: facts::subject(case.definition),
        arguments: indexed.as_ref(),
        code_mode: turn.surface == mcp::surface::Surface::CodeMode,
    };
    rules::decide(list, &facts::facts(&caller, &turn.session, turn.source, about))
}

fn blocked(rule: &str, message: Option<&str>) -> Stopped {
    let text = match message {
        Some(message) => format!("blocked by the rule \"{rule}\": {message}"),
        None => format!("blocked by the rule \"{rule}\""),
    };
    let data = Some(raw::raw(&json!({"rule": rule, "reason": message})));
    Stopped::Error(RpcError { code: BLOCKED, message: text.into(), data }, Outcome::Blocked(rule.to_owned()))
}

/// What becomes of a call when its Worker has spoken, or has not; `Some`: the arguments it goes on with.
fn heard(rule: &str, on_error: OnError, word: Result<Word, String>) -> Result<Option<Box<RawValue>>, Stopped> {
    match word {
        Ok(Word::Pass) => Ok(None),
        Ok(Word::Changed(arguments)) => Ok(Some(arguments)),
        Ok(Word::Result(result)) => Err(Stopped::Answered(result)),
        Ok(Word::Refused(reason)) => Err(blocked(rule, Some(&reason))),
        Ok(Word::Visit { url, message }) => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            Err(Stopped::Visit(Need { message: named(rule, &message), url, id }, rule.to_owned()))
        }
        Err(why) => {
            tracing::warn!(rule, why, "a Worker that a rule asks about a call gave no answer");
            match on_error {
                OnError::Continue => Ok(None),
                OnError::Block => Err(blocked(rule, Some("the Worker that decides about it failed"))),
            }
        }
    }
}

/// Tells whether a condition is met, with the approval that the call would use up; what is not leads a person to a page.
fn meet(case: &Case<'_>, condition: &Condition, arguments: Option<&RawValue>) -> Result<Option<String>, Stopped> {
    let (rule, what) = match condition {
        Condition::Worker { .. } => return Ok(None),
        Condition::Factor { rule, max_age } => {
            let max_age = seconds(*max_age);
            let person = case.turn.visitor.person();
            let age = person.and_then(|person| person.factor_at).map(|at| case.turn.plane.now().saturating_sub(at));
            if age.is_some_and(|age| age <= max_age) {
                return Ok(None);
            }
            let sign_in = person.map_or([0; 32], |person| person.sign_in);
            (rule, What::Factor(Factor { sign_in, max_age }))
        }
        Condition::Approval { rule, lifetime } => {
            let call = shown(case, *lifetime, arguments).map_err(|why| blocked(rule, Some(why)))?;
            (rule, What::Call(Box::new(call)))
        }
    };
    let Some(person) = case.turn.visitor.person() else {
        return Err(blocked(rule, Some("only a person's agent passes it, and this caller is none")));
    };
    if matches!(&what, What::Call(call) if call.arguments.len() > asks::MOST_SHOWN) {
        return Err(blocked(rule, Some("the arguments are too long for a person to confirm them")));
    }
    ask(case, person.user, rule, what)
}

fn ask(case: &Case<'_>, user: UserId, rule: &str, what: What) -> Result<Option<String>, Stopped> {
    let turn = case.turn;
    let (path, message) = match &what {
        What::Call(call) => (confirm::APPROVE, format!("confirm \"{}\" on {}", call.name, call.server)),
        What::Factor(_) => (confirm::PROVE, "prove a second factor".to_owned()),
    };
    let new = New {
        user,
        portal: turn.portal.settings.id.as_str().to_owned(),
        rule: rule.to_owned(),
        what,
        session: Arc::downgrade(&turn.session),
    };
    match turn.plane.asks.stand(new, turn.plane.now()) {
        Standing::Granted(single) => Ok(single),
        Standing::Refused => Err(blocked(rule, Some("the person refused"))),
        Standing::Full => Err(blocked(rule, Some("too many calls wait for confirmation already"))),
        Standing::Waits(id) => {
            let Ok(mut url) = turn.site.join(path) else { return Err(blocked(rule, None)) };
            url.query_pairs_mut().append_pair("id", &id);
            Err(Stopped::Visit(Need { message: named(rule, &message), url: url.into(), id }, rule.to_owned()))
        }
    }
}

/// What a person is shown of a call: all that is sent, or why that cannot be shown.
fn shown(case: &Case<'_>, lifetime: std::time::Duration, arguments: Option<&RawValue>) -> Result<Call, &'static str> {
    let mut sent = Vec::new();
    for json in [arguments, case.input].into_iter().flatten() {
        if !raw::holds_exact_numbers(json.get()) {
            return Err("a number in it cannot be shown as exactly as it would be sent");
        }
        let mut value: Value = serde_json::from_str(json.get()).map_err(|_| "its arguments cannot be read")?;
        // In one order, so that the same call is known when it comes again.
        value.sort_all_objects();
        sent.push(value);
    }
    let arguments = match (case.input, sent.as_slice()) {
        (None, sent) => sent.first().map(Value::to_string).unwrap_or_default(),
        (Some(_), sent) => json!({"arguments and answers to the server": sent}).to_string(),
    };
    Ok(Call {
        server: case.served.id.to_string(),
        method: case.method,
        name: case.definition.key.to_string(),
        title: case.definition.title.as_deref().map(str::to_owned),
        destructive: facts::hints(case.definition).destructive,
        arguments,
        lifetime: seconds(lifetime),
    })
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn named(rule: &str, message: &str) -> String {
    format!("The rule \"{rule}\": {message}, then repeat the call.")
}
