//! Sending a person to a page before a request can be answered (URL elicitation).
//!
//! It decides the form alone: an error, a result that asks for input, or a tool's words with a link, by what the client
//! said it can do. Invariants: an address holds no credential; what is remembered of questions ends and is bounded; and
//! a page that a question leads to is for the holder of the session that asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp::builtin::{self, UrlElicitation};
use mcp::message::{ErrorCode, Id, Message, Request, Response, RpcError};
use mcp::names::ServerId;
use mcp::raw::{self, Object};
use moka::sync::Cache;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::session::Session;

use crate::turn::Turn;
use crate::visit::Holder;

/// Where people are sent (reference section 5.2).
pub(crate) const PAGE: &str = "/authorize";
/// The parameter that names the question.
pub(crate) const PARAMETER: &str = "elicitationId";
/// Our question among those of one request (2026-07-28).
const KEY: &str = "portunus.page";
const MOST: u64 = 10_000;
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A page to visit.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub(crate) message: String,
    pub(crate) url: String,
    pub(crate) id: String,
}

/// A question that was asked.
pub(crate) struct Asked {
    pub(crate) session: Weak<Session>,
    pub(crate) portal: String,
    pub(crate) holder: Holder,
    /// The server it is about.
    pub(crate) server: Option<ServerId>,
}

/// The questions of a node.
pub(crate) struct Elicitations {
    asked: Cache<String, Arc<Asked>>,
}

impl Default for Elicitations {
    fn default() -> Self {
        Self { asked: Cache::builder().max_capacity(MOST).time_to_live(LIFETIME).build() }
    }
}

impl Elicitations {
    /// Notes a question of the client of a turn.
    pub(crate) fn ask(&self, turn: &Turn, server: Option<&ServerId>, message: String) -> Need {
        let id = Uuid::new_v4().to_string();
        let asked = Asked {
            session: Arc::downgrade(&turn.session),
            portal: turn.session.portal.clone(),
            holder: turn.session.holder,
            server: server.cloned(),
        };
        self.asked.insert(id.clone(), Arc::new(asked));
        let mut url = turn.site.clone();
        url.set_path(PAGE);
        url.query_pairs_mut().append_pair(PARAMETER, &id);
        Need { message, url: url.to_string(), id }
    }

    /// Finds a question of a holder at a portal.
    pub(crate) fn find(&self, id: &str, portal: &str, holder: Holder) -> Option<Arc<Asked>> {
        self.asked.get(id).filter(|asked| asked.portal == portal && asked.holder == holder)
    }

    /// Tells the client that the person is done (2025-11-25).
    pub(crate) fn done(&self, id: &str, portal: &str, holder: Holder) {
        let Some(asked) = self.find(id, portal, holder) else { return };
        self.asked.invalidate(id);
        complete(&asked.session, id);
    }
}

/// Tells a client that its person is done with a page (2025-11-25).
pub(crate) fn complete(session: &Weak<Session>, id: &str) {
    let Some(session) = session.upgrade() else { return };
    if session.version.era() == mcp::version::Era::Sessions && opens_pages(&session) {
        let message = Message::notification("notifications/elicitation/complete", &json!({"elicitationId": id}));
        session.tell(&message);
    }
}

/// Whether a client opens pages for its person.
pub(crate) fn opens_pages(session: &Session) -> bool {
    let capabilities = Object::parse(session.client.capabilities.get()).ok();
    capabilities.and_then(|all| all.object("elicitation")).is_some_and(|modes| modes.value("url").is_some())
}

/// Makes the answer to a request that a person has to visit a page for. A part of a program, or of a batch, has nobody
/// behind it who could be sent there: the address stands in the words.
pub(crate) fn answer(turn: &Turn, (method, id): (&str, Id), need: &Need, inner: bool) -> Message {
    if inner || !turn.asks || !opens_pages(&turn.session) {
        let text = format!("{} {}", need.message, need.url);
        if method == "tools/call" {
            let result = raw::raw(&json!({"content": [{"type": "text", "text": text}], "isError": true}));
            return Message::Response(Response { id, result: crate::turn::completed(turn, method, result) });
        }
        return Message::error(id, RpcError::new(ErrorCode::Internal, text));
    }
    if turn.is_stateless() {
        let params = json!({"mode": "url", "message": need.message, "url": need.url, "elicitationId": need.id});
        let result = json!({
            "resultType": "input_required",
            "inputRequests": {KEY: {"method": "elicitation/create", "params": params}},
        });
        return Message::Response(Response { id, result: crate::turn::completed(turn, method, raw::raw(&result)) });
    }
    let page = UrlElicitation { elicitation_id: need.id.clone(), url: need.url.clone(), message: need.message.clone() };
    Message::error(id, builtin::url_elicitation_required(&need.message, &[page]))
}

/// Whether a request brings the answer to a page of ours (2026-07-28).
pub(crate) fn answered(request: &Request) -> bool {
    let responses = request.params().and_then(|params| params.object("inputResponses"));
    responses.is_some_and(|responses| responses.value(KEY).is_some())
}

/// Takes the client's answer to our question out of what is sent on: no server asked it.
pub(crate) fn without_own(params: Box<RawValue>) -> Box<RawValue> {
    if !raw::may_hold(&params, KEY) {
        return params;
    }
    let changed = Object::parse(params.get()).ok().and_then(|object| {
        let answers = object.value("inputResponses")?;
        let inner = Object::parse(answers.get()).ok()?;
        inner.value(KEY)?;
        let rest = raw::splice(answers.get(), &[(KEY, None)]).ok()?;
        let empty = Object::parse(rest.get()).ok()?.members().next().is_none();
        raw::splice(params.get(), &[("inputResponses", (!empty).then_some(&*rest))]).ok()
    });
    changed.unwrap_or(params)
}

#[cfg(test)]
mod tests {
    use mcp::raw::raw;
    use serde_json::{Value, json};

    use super::without_own;

    #[test]
    fn an_answer_to_a_page_of_ours_is_not_sent_on() {
        for (params, expected) in [
            (json!({"name": "x"}), json!({"name": "x"})),
            (json!({"name": "x", "inputResponses": {"portunus.page": {"action": "accept"}}}), json!({"name": "x"})),
            (
                json!({"inputResponses": {"portunus.page": 1, "a": 2}, "requestState": "s"}),
                json!({"inputResponses": {"a": 2}, "requestState": "s"}),
            ),
        ] {
            let sent: Value = serde_json::from_str(without_own(raw(&params)).get()).unwrap();
            assert_eq!(sent, expected);
        }
    }
}
