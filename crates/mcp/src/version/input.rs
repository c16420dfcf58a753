//! Multi-round-trip input (2026-07-28): results that ask for something, and requests that are tried again with it.
//!
//! Reads and writes shapes; who is asked, and how a request is found again, is the plane's. Invariant: only the three things
//! that a server may ask of a client are passed on, and no more of them at a time than a person can be shown.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::message::{ErrorCode, RpcError};
use crate::raw::{self, Object, RawError, splice};

/// Most things that one result asks for.
const MOST_REQUESTS: usize = 32;
/// Longest key of one of them, in bytes.
const MAX_KEY: usize = 256;
/// Longest `requestState`, in bytes: clients send it back with every try.
pub const MAX_STATE: usize = 64 * 1_024;

const RESPONSES: &str = "inputResponses";
const STATE: &str = "requestState";

/// Something a server asks of its client.
#[derive(Debug, Clone)]
pub struct InputRequest {
    pub method: Box<str>,
    /// A JSON object.
    pub params: Option<Box<RawValue>>,
}

/// A result that is none yet.
#[derive(Debug, Clone)]
pub struct InputRequired {
    /// By key, in the server's order; may be empty where there is a state.
    pub requests: Vec<(String, InputRequest)>,
    /// Opaque, for the server alone.
    pub state: Option<String>,
}

/// Why a result that asks for input cannot be acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("what it asks for is no object of requests")]
    Shape,
    #[error("it asks for something else than elicitation, sampling or roots")]
    Method,
    #[error("it asks for more than is passed on")]
    TooMany,
    #[error("it asks for nothing and keeps no state")]
    Nothing,
}

/// Tells whether a client's request of this method may be answered with a question.
#[must_use]
pub fn may_ask(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read")
}

/// Tells whether this is one of the requests a server may send to a client.
#[must_use]
pub fn is_of_servers(method: &str) -> bool {
    matches!(method, "elicitation/create" | "sampling/createMessage" | "roots/list")
}

/// Reads a result; `None` where it is none that asks for input.
///
/// # Errors
/// It is one, and cannot be acted on.
pub fn read(result: &RawValue) -> Option<Result<InputRequired, InputError>> {
    // Most results are none, and large ones are not worth reading to find out.
    if !raw::may_hold(result, "input_required") {
        return None;
    }
    let object = Object::parse(result.get()).ok()?;
    (object.text("resultType").as_deref() == Some("input_required")).then(|| of(&object))
}

fn of(object: &Object<'_>) -> Result<InputRequired, InputError> {
    let requests = match object.value("inputRequests") {
        Some(requests) => requests_of(requests)?,
        None => Vec::new(),
    };
    let state = object.text(STATE).map(std::borrow::Cow::into_owned).filter(|state| state.len() <= MAX_STATE);
    if requests.is_empty() && state.is_none() {
        return Err(InputError::Nothing);
    }
    Ok(InputRequired { requests, state })
}

/// Reads `inputRequests`.
///
/// # Errors
/// It is not what the protocol says, or larger.
pub fn requests_of(requests: &RawValue) -> Result<Vec<(String, InputRequest)>, InputError> {
    let requests = Object::parse(requests.get()).map_err(|_| InputError::Shape)?;
    if requests.members().count() > MOST_REQUESTS {
        return Err(InputError::TooMany);
    }
    let read = requests.members().map(|(key, request)| {
        let request = Object::parse(request.get()).map_err(|_| InputError::Shape)?;
        let method = request.text("method").filter(|method| is_of_servers(method)).ok_or(InputError::Method)?;
        let params = request.value("params").map(ToOwned::to_owned);
        if key.len() > MAX_KEY || params.as_ref().is_some_and(|params| !params.get().starts_with('{')) {
            return Err(InputError::Shape);
        }
        Ok((key.to_owned(), InputRequest { method: method.into(), params }))
    });
    read.collect()
}

/// Makes a result that asks a client.
#[must_use]
pub fn required(requests: &[(String, InputRequest)], state: Option<&str>) -> Box<RawValue> {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests_json(requests)});
    if let Some(state) = state {
        result[STATE] = state.into();
    }
    raw::raw(&result)
}

fn requests_json(requests: &[(String, InputRequest)]) -> Value {
    let members = requests.iter().map(|(key, request)| {
        let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
        (key.clone(), json!({"method": request.method, "params": params}))
    });
    Value::Object(members.collect())
}

/// What a request that is tried again brings along.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    pub responses: BTreeMap<String, Box<RawValue>>,
    pub state: Option<String>,
}

/// Reads what the params of a request bring along.
///
/// # Errors
/// The answers are no object of objects, or the state is no text.
pub fn tried(params: Option<&Object<'_>>) -> Result<Tried, RpcError> {
    let Some(params) = params else { return Ok(Tried::default()) };
    let invalid = |message: &str| RpcError::new(ErrorCode::InvalidParams, message);
    let state = params.value(STATE).map(|state| raw::text(state).ok_or_else(|| invalid("requestState must be a text")));
    let state = state.transpose()?.map(std::borrow::Cow::into_owned);
    let mut responses = BTreeMap::new();
    if let Some(sent) = params.value(RESPONSES) {
        let sent = Object::parse(sent.get()).map_err(|_| invalid("inputResponses must be an object"))?;
        for (key, response) in sent.members() {
            if !response.get().starts_with('{') {
                return Err(invalid("each of the inputResponses must be an object"));
            }
            responses.insert(key.to_owned(), response.to_owned());
        }
    }
    Ok(Tried { responses, state })
}

/// Makes params for the next try: with these answers and this state, and without those of the try before.
///
/// # Errors
/// `params` is no sound object.
pub fn again(
    params: &RawValue,
    responses: &[(String, Box<RawValue>)],
    state: Option<&str>,
) -> Result<Box<RawValue>, RawError> {
    let members: Vec<(&str, Option<&RawValue>)> =
        responses.iter().map(|(key, response)| (key.as_str(), Some(&**response))).collect();
    let responses = splice("{}", &members)?;
    let state = state.map(raw::raw);
    splice(params.get(), &[(RESPONSES, Some(&*responses)), (STATE, state.as_deref())])
}

/// Takes out what belongs to a try, as servers with sessions know nothing of it.
///
/// # Errors
/// `params` is no sound object.
pub fn without(params: &RawValue) -> Result<Box<RawValue>, RawError> {
    splice(params.get(), &[(RESPONSES, None), (STATE, None)])
}

/// Returns what a client must have declared to be asked this; an object of the shape of `clientCapabilities`.
#[must_use]
pub fn capability(request: &InputRequest) -> Value {
    let params = request.params.as_deref().and_then(|params| Object::parse(params.get()).ok());
    match &*request.method {
        "elicitation/create" => {
            let mode = params.and_then(|params| params.text("mode").map(std::borrow::Cow::into_owned));
            let mode = if mode.as_deref() == Some("url") { "url" } else { "form" };
            json!({"elicitation": {mode: {}}})
        }
        "sampling/createMessage" => {
            let tools = params.is_some_and(|params| params.value("tools").is_some());
            if tools { json!({"sampling": {"tools": {}}}) } else { json!({"sampling": {}}) }
        }
        _ => json!({"roots": {}}),
    }
}

/// Makes the questions of an error `URLElicitationRequired` (2025-11-25) those of a result of the stateless era, which has
/// no such error; `None` for any other error.
#[must_use]
pub fn of_error(error: &RpcError) -> Option<Vec<(String, InputRequest)>> {
    if error.code != ErrorCode::UrlElicitationRequired.number() {
        return None;
    }
    let data: Value = serde_json::from_str(error.data.as_ref()?.get()).ok()?;
    let pages = data.get("elicitations")?.as_array()?;
    let requests = pages.iter().take(MOST_REQUESTS).enumerate().filter_map(|(index, page)| {
        let mut params = page.as_object()?.clone();
        // The era has no such identifier: the outcome is learnt by trying again.
        params.remove("elicitationId");
        params.insert("mode".to_owned(), "url".into());
        Some((index.to_string(), InputRequest { method: "elicitation/create".into(), params: Some(raw::raw(&params)) }))
    });
    let requests: Vec<_> = requests.collect();
    (!requests.is_empty()).then_some(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_of(value: &Value) -> Box<RawValue> {
        raw::raw(value)
    }

    #[test]
    fn a_result_that_asks_is_told_from_one_that_does_not() {
        let ask = |requests: Value| read(&raw_of(&json!({"resultType": "input_required", "inputRequests": requests})));
        let elicit = json!({"method": "elicitation/create", "params": {"message": "who?"}});
        let found = ask(json!({"b": elicit, "a": {"method": "roots/list"}})).unwrap().unwrap();
        let keys: Vec<_> = found.requests.iter().map(|(key, request)| (key.as_str(), &*request.method)).collect();
        assert_eq!(keys.len(), 2);
        assert!(keys.contains(&("b", "elicitation/create")) && keys.contains(&("a", "roots/list")));
        for (requests, error) in [
            (json!([]), InputError::Shape),
            (json!({"a": 1}), InputError::Shape),
            (json!({"a": {"method": "tools/call"}}), InputError::Method),
            (json!({"a": {"method": "roots/list", "params": []}}), InputError::Shape),
            (json!({}), InputError::Nothing),
            (Value::Object((0..33).map(|n| (n.to_string(), elicit.clone())).collect()), InputError::TooMany),
        ] {
            assert_eq!(ask(requests.clone()).unwrap().unwrap_err(), error, "{requests}");
        }
        let with_state = read(&raw_of(&json!({"resultType": "input_required", "requestState": "s"}))).unwrap().unwrap();
        assert_eq!((with_state.requests.len(), with_state.state.as_deref()), (0, Some("s")));
        for other in [json!({"resultType": "complete"}), json!({"content": [{"text": "input_required"}]}), json!({})] {
            assert!(read(&raw_of(&other)).is_none(), "{other}");
        }
    }

    #[test]
    fn what_was_asked_is_what_a_client_reads() {
        let request = InputRequest { method: "roots/list".into(), params: None };
        let made = required(&[("1".to_owned(), request)], Some("opaque"));
        let found = read(&made).unwrap().unwrap();
        assert_eq!((found.requests[0].0.as_str(), found.state.as_deref()), ("1", Some("opaque")));
    }

    #[test]
    fn a_try_carries_its_own_answers_and_no_others() {
        let params = raw_of(&json!({"name": "t", "inputResponses": {"old": {}}, "requestState": "old"}));
        let next = again(&params, &[("new".to_owned(), raw_of(&json!({"action": "accept"})))], None).unwrap();
        let next: Value = serde_json::from_str(next.get()).unwrap();
        assert_eq!(next, json!({"name": "t", "inputResponses": {"new": {"action": "accept"}}}));
        let object = Object::parse(params.get()).unwrap();
        let found = tried(Some(&object)).unwrap();
        assert_eq!((found.responses.len(), found.state.as_deref()), (1, Some("old")));
        let plain: Value = serde_json::from_str(without(&params).unwrap().get()).unwrap();
        assert_eq!(plain, json!({"name": "t"}));
        for wrong in [r#"{"inputResponses":[]}"#, r#"{"inputResponses":{"a":1}}"#, r#"{"requestState":1}"#] {
            assert_eq!(tried(Some(&Object::parse(wrong).unwrap())).unwrap_err().code, -32602, "{wrong}");
        }
    }

    #[test]
    fn each_question_needs_its_capability() {
        for (method, params, needed) in [
            ("elicitation/create", json!({"message": "m"}), json!({"elicitation": {"form": {}}})),
            ("elicitation/create", json!({"mode": "url"}), json!({"elicitation": {"url": {}}})),
            ("sampling/createMessage", json!({"messages": []}), json!({"sampling": {}})),
            ("sampling/createMessage", json!({"tools": []}), json!({"sampling": {"tools": {}}})),
            ("roots/list", json!({}), json!({"roots": {}})),
        ] {
            let request = InputRequest { method: method.into(), params: Some(raw_of(&params)) };
            assert_eq!(capability(&request), needed, "{method} {params}");
        }
    }

    #[test]
    fn the_pages_of_an_error_become_questions() {
        let page = json!({"mode": "url", "elicitationId": "e", "url": "https://p/", "message": "visit"});
        let error = RpcError::with(ErrorCode::UrlElicitationRequired, "visit", &json!({"elicitations": [page]}));
        let found = of_error(&error).unwrap();
        let params: Value = serde_json::from_str(found[0].1.params.as_ref().unwrap().get()).unwrap();
        assert_eq!(params, json!({"mode": "url", "url": "https://p/", "message": "visit"}));
        assert!(of_error(&RpcError::new(ErrorCode::Internal, "x")).is_none());
    }
}
