//! JSON-RPC 2.0 as MCP uses it: reading one message or a batch, and writing answers.
//!
//! Decides what a message is, not whether it may pass. Params, results and error data stay the JSON they came as; an id
//! is kept as it was written. Invariants: a message above the caller's bounds is refused before it is parsed; what a
//! message asks for is unambiguous, so the receiver reads what policy read; writing a message and reading it again gives
//! the same message.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::raw::{self, Object};

/// Longest id Portunus keeps, as written. Clients use counters and UUIDs.
const MAX_ID: usize = 256;
const MAX_METHOD: usize = 128;

/// What the receiver of a message accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub bytes: usize,
    /// How deep arrays and objects may nest. Above 120 the JSON reader's own limit counts.
    pub depth: usize,
    /// Most messages of a batch; 0 where the protocol version has none.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 4 * 1_024 * 1_024, depth: 64, batch: 0 }
    }
}

/// The errors MCP gives a number, and those of JSON-RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    Parse,
    InvalidRequest,
    MethodNotFound,
    InvalidParams,
    Internal,
    /// A resource that does not exist, through 2025-11-25; afterwards that is `InvalidParams`.
    ResourceNotFound,
    /// A header says something else than the body.
    HeaderMismatch,
    /// The request needs a capability its client did not declare.
    MissingCapability,
    UnsupportedVersion,
    /// A person has to visit a page first.
    UrlElicitationRequired,
}

impl ErrorCode {
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Parse => -32_700,
            Self::InvalidRequest => -32_600,
            Self::MethodNotFound => -32_601,
            Self::InvalidParams => -32_602,
            Self::Internal => -32_603,
            Self::ResourceNotFound => -32_002,
            Self::HeaderMismatch => -32_020,
            Self::MissingCapability => -32_021,
            Self::UnsupportedVersion => -32_022,
            Self::UrlElicitationRequired => -32_042,
        }
    }

    /// Returns the code with this number; servers may use others.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        const ALL: [ErrorCode; 10] = [
            ErrorCode::Parse,
            ErrorCode::InvalidRequest,
            ErrorCode::MethodNotFound,
            ErrorCode::InvalidParams,
            ErrorCode::Internal,
            ErrorCode::ResourceNotFound,
            ErrorCode::HeaderMismatch,
            ErrorCode::MissingCapability,
            ErrorCode::UnsupportedVersion,
            ErrorCode::UrlElicitationRequired,
        ];
        ALL.into_iter().find(|code| code.number() == number)
    }
}

/// The id of a request, written back exactly as it was read.
///
/// Two ids are the same when they are the same text, however escaped, or the same number as written.
#[derive(Clone)]
pub struct Id(Box<RawValue>);

impl Id {
    /// Reads an id.
    ///
    /// # Errors
    /// When it is neither text nor number, or longer than any client writes one.
    pub fn parse(value: &RawValue) -> Result<Self, MessageError> {
        let text = value.get();
        let is_id = matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'));
        if is_id && text.len() <= MAX_ID { Ok(Self(value.to_owned())) } else { Err(MessageError::Id) }
    }

    /// Makes the id of a request of our own.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self(raw::raw(&number))
    }

    /// Returns the id as JSON.
    #[must_use]
    pub fn as_json(&self) -> &RawValue {
        &self.0
    }

    /// Returns the number of an id that [`Id::number`] could have made.
    #[must_use]
    pub fn as_number(&self) -> Option<u64> {
        self.0.get().parse().ok()
    }

    /// The text without its escapes, in quotes of its own kind so that it is no number's.
    fn key(&self) -> Cow<'_, str> {
        match raw::text(&self.0) {
            Some(Cow::Owned(text)) => Cow::Owned(format!("\"{text}\"")),
            Some(Cow::Borrowed(_)) | None => Cow::Borrowed(self.0.get()),
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get() || self.key() == other.key()
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A request, to which the sender expects one answer.
#[derive(Debug, Clone)]
pub struct Request {
    pub id: Id,
    pub method: Box<str>,
    /// A JSON object.
    pub params: Option<Box<RawValue>>,
}

/// A message nobody answers.
#[derive(Debug, Clone)]
pub struct Notification {
    pub method: Box<str>,
    /// A JSON object.
    pub params: Option<Box<RawValue>>,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Response {
    pub id: Id,
    /// A JSON object.
    pub result: Box<RawValue>,
}

/// The error a request ended with.
#[derive(Debug, Clone)]
pub struct ErrorResponse {
    /// Absent when the sender could not read the id.
    pub id: Option<Id>,
    pub error: RpcError,
}

/// What `error` of an answer holds.
#[derive(Debug, Clone, Serialize)]
pub struct RpcError {
    pub code: i64,
    pub message: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Box<str>>) -> Self {
        Self { code: code.number(), message: message.into(), data: None }
    }

    /// Makes an error with `data`.
    #[must_use]
    pub fn with<T: Serialize + ?Sized>(code: ErrorCode, message: impl Into<Box<str>>, data: &T) -> Self {
        Self { code: code.number(), message: message.into(), data: Some(raw::raw(data)) }
    }
}

/// One JSON-RPC message.
#[derive(Debug, Clone)]
pub enum Message {
    Request(Request),
    Notification(Notification),
    Response(Response),
    Error(ErrorResponse),
}

/// What one body or event held.
#[derive(Debug, Clone)]
pub enum Payload {
    One(Message),
    /// Never empty. A message of it that is none has its own error, which its sender is told.
    Batch(Vec<Result<Message, Unreadable>>),
}

/// A message that could not be read, with what can be answered.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// The id of what was meant as a request, when it had one.
    pub id: Option<Id>,
    pub error: MessageError,
}

impl Unreadable {
    /// Returns the answer to it.
    #[must_use]
    pub fn answer(&self) -> Message {
        Message::Error(ErrorResponse {
            id: self.id.clone(),
            error: RpcError::new(self.error.code(), self.error.to_string()),
        })
    }
}

impl From<MessageError> for Unreadable {
    fn from(error: MessageError) -> Self {
        Self { id: None, error }
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the message is larger than is accepted")]
    TooLarge,
    #[error("the message is nested deeper than is accepted")]
    TooDeep,
    #[error("not JSON")]
    Json,
    #[error("not a JSON-RPC 2.0 message")]
    Shape,
    #[error("an id is a text or a number, and short")]
    Id,
    #[error("params must be an object")]
    Params,
    #[error("an object of the message names a member twice")]
    Ambiguous,
    #[error("batches are not part of this protocol version")]
    Batch,
    #[error("the batch is empty or has more messages than are accepted")]
    BatchSize,
}

impl MessageError {
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Json | Self::TooDeep => ErrorCode::Parse,
            Self::TooLarge
            | Self::Shape
            | Self::Id
            | Self::Params
            | Self::Ambiguous
            | Self::Batch
            | Self::BatchSize => ErrorCode::InvalidRequest,
        }
    }

    /// Returns the HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        if matches!(self, Self::TooLarge) { 413 } else { 400 }
    }
}

/// Reads a body or an event.
///
/// # Errors
/// When it is above a bound, no JSON, or no message. `limits.batch` of 0 refuses batches.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Payload, Unreadable> {
    if bytes.len() > limits.bytes {
        return Err(MessageError::TooLarge.into());
    }
    if raw::depth(bytes) > limits.depth {
        return Err(MessageError::TooDeep.into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| MessageError::Json)?;
    if !text.trim_ascii_start().starts_with('[') {
        return parse_one(text).map(Payload::One);
    }
    if limits.batch == 0 {
        // Whether it is JSON at all decides between the two codes.
        serde_json::from_str::<&RawValue>(text).map_err(|_| MessageError::Json)?;
        return Err(MessageError::Batch.into());
    }
    let members: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| MessageError::Json)?;
    if members.is_empty() || members.len() > limits.batch {
        return Err(MessageError::BatchSize.into());
    }
    Ok(Payload::Batch(members.into_iter().map(|member| parse_one(member.get())).collect()))
}

fn parse_one(text: &str) -> Result<Message, Unreadable> {
    let object = match Object::parse(text) {
        Ok(object) => object,
        Err(raw::RawError::Twice) => return Err(MessageError::Ambiguous.into()),
        Err(raw::RawError::NotAnObject) => {
            let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
            return Err(if is_json { MessageError::Shape } else { MessageError::Json }.into());
        }
    };
    let is_null = |value: &&RawValue| value.get() == "null";
    let id = object.value("id").filter(|id| !is_null(id)).map(Id::parse).transpose()?;
    read(&object, id.clone(), object.value("id").is_some()).map_err(|error| Unreadable { id, error })
}

fn read(object: &Object<'_>, id: Option<Id>, has_id: bool) -> Result<Message, MessageError> {
    if object.text("jsonrpc").as_deref() != Some("2.0") {
        return Err(MessageError::Shape);
    }
    let params = object.value("params");
    match (object.value("method"), object.value("result"), object.value("error")) {
        (Some(method), None, None) => {
            let method = raw::text(method).filter(|method| (1..=MAX_METHOD).contains(&method.len()));
            let method: Box<str> = method.ok_or(MessageError::Shape)?.into();
            if params.is_some_and(|params| !params.get().starts_with('{')) {
                return Err(MessageError::Params);
            }
            if params.is_some_and(|params| !raw::is_unambiguous(params.get())) {
                return Err(MessageError::Ambiguous);
            }
            let params = params.map(ToOwned::to_owned);
            match id {
                Some(id) => Ok(Message::Request(Request { id, method, params })),
                None if has_id => Err(MessageError::Id),
                None => Ok(Message::Notification(Notification { method, params })),
            }
        }
        (None, Some(result), None) => {
            let id = id.ok_or(MessageError::Id)?;
            if !result.get().starts_with('{') {
                return Err(MessageError::Shape);
            }
            Ok(Message::Response(Response { id, result: result.to_owned() }))
        }
        (None, None, Some(error)) => {
            let error = Object::parse(error.get()).map_err(|_| MessageError::Shape)?;
            let code = error.value("code").and_then(|code| code.get().parse().ok()).ok_or(MessageError::Shape)?;
            let message = error.text("message").ok_or(MessageError::Shape)?.into();
            let data = error.value("data").map(ToOwned::to_owned);
            Ok(Message::Error(ErrorResponse { id, error: RpcError { code, message, data } }))
        }
        _ => Err(MessageError::Shape),
    }
}

impl Message {
    /// Answers a request.
    #[must_use]
    pub fn response<T: Serialize + ?Sized>(id: Id, result: &T) -> Self {
        Self::Response(Response { id, result: raw::raw(result) })
    }

    /// Answers a request with an error.
    #[must_use]
    pub fn error(id: Id, error: RpcError) -> Self {
        Self::Error(ErrorResponse { id: Some(id), error })
    }

    /// Makes a notification.
    #[must_use]
    pub fn notification<T: Serialize + ?Sized>(method: &str, params: &T) -> Self {
        Self::Notification(Notification { method: method.into(), params: Some(raw::raw(params)) })
    }

    #[must_use]
    pub fn to_json(&self) -> String {
        String::from(Box::<str>::from(raw::raw(self)))
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("jsonrpc", "2.0")?;
        match self {
            Self::Request(request) => {
                map.serialize_entry("id", &request.id)?;
                map.serialize_entry("method", &request.method)?;
                if let Some(params) = &request.params {
                    map.serialize_entry("params", params)?;
                }
            }
            Self::Notification(notification) => {
                map.serialize_entry("method", &notification.method)?;
                if let Some(params) = &notification.params {
                    map.serialize_entry("params", params)?;
                }
            }
            Self::Response(response) => {
                map.serialize_entry("id", &response.id)?;
                map.serialize_entry("result", &response.result)?;
            }
            Self::Error(response) => {
                // JSON-RPC 2.0 section 5: the id is null when it could not be read.
                map.serialize_entry("id", &response.id)?;
                map.serialize_entry("error", &response.error)?;
            }
        }
        map.end()
    }
}

impl Request {
    /// Returns the members of the params; none of an absent object.
    #[must_use]
    pub fn params(&self) -> Option<Object<'_>> {
        self.params.as_deref().and_then(|params| Object::parse(params.get()).ok())
    }
}

impl Notification {
    /// Returns the members of the params; none of an absent object.
    #[must_use]
    pub fn params(&self) -> Option<Object<'_>> {
        self.params.as_deref().and_then(|params| Object::parse(params.get()).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const LIMITS: Limits = Limits { bytes: 10_000, depth: 10, batch: 3 };

    fn one(text: &str) -> Result<Message, Unreadable> {
        match parse(text.as_bytes(), LIMITS)? {
            Payload::One(message) => Ok(message),
            Payload::Batch(_) => unreachable!("one message was given"),
        }
    }

    #[test]
    fn each_kind_is_read_and_written_back_as_it_was() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1.0e2,"t":"\u00e9"}}}"#,
            r#"{"jsonrpc":"2.0","id":"\u0061-1","method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":-12345678901234567890,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[ {"type":"text","text":"x"} ],"unknown":[1,2]}}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"m","data":[1]}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#,
        ] {
            assert_eq!(one(text).unwrap().to_json(), text);
        }
    }

    #[test]
    fn what_is_no_message_says_why_and_to_which_request() {
        for (text, error, id) in [
            ("", MessageError::Json, None),
            ("{", MessageError::Json, None),
            ("1", MessageError::Shape, None),
            ("[]", MessageError::BatchSize, None),
            (r#"{"id":1,"method":"m"}"#, MessageError::Shape, Some(1)),
            (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, MessageError::Shape, Some(1)),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, MessageError::Id, None),
            (r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#, MessageError::Id, None),
            (r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#, MessageError::Id, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}"#, MessageError::Params, Some(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, MessageError::Shape, Some(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#, MessageError::Shape, Some(1)),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#, MessageError::Ambiguous, None),
            (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":{"x":1,"x":2}}}"#, MessageError::Ambiguous, Some(1)),
            (r#"{"jsonrpc":"2.0","result":{}}"#, MessageError::Id, None),
            (r#"{"jsonrpc":"2.0","id":1,"result":3}"#, MessageError::Shape, Some(1)),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":"m"}}"#, MessageError::Shape, Some(1)),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":[[[[[[[[[[1]]]]]]]]]]}}"#,
                MessageError::TooDeep,
                None,
            ),
        ] {
            let refused = one(text).unwrap_err();
            assert_eq!((refused.error, refused.id.clone()), (error, id.map(Id::number)), "{text}");
            assert!(matches!(refused.answer(), Message::Error(_)));
        }
        let large = parse(&vec![b' '; LIMITS.bytes + 1], LIMITS).unwrap_err();
        assert_eq!((large.error, large.error.status()), (MessageError::TooLarge, 413));
    }

    #[test]
    fn a_batch_is_read_only_where_the_version_has_batches() {
        let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"a"}, 5, {"jsonrpc":"2.0","method":"b"}]"#;
        let Payload::Batch(found) = parse(batch.as_bytes(), LIMITS).unwrap() else { panic!("a batch") };
        assert!(matches!(
            found.as_slice(),
            [Ok(Message::Request(_)), Err(Unreadable { error: MessageError::Shape, .. }), Ok(Message::Notification(_))]
        ));
        let without = parse(batch.as_bytes(), Limits { batch: 0, ..LIMITS }).unwrap_err();
        assert_eq!(without.error, MessageError::Batch);
        assert_eq!(parse(b"[,", Limits { batch: 0, ..LIMITS }).unwrap_err().error, MessageError::Json);
        let four = format!("[{}]", ["1"; 4].join(","));
        assert_eq!(parse(four.as_bytes(), LIMITS).unwrap_err().error, MessageError::BatchSize);
    }

    #[test]
    fn ids_are_the_same_when_they_mean_the_same() {
        let id = |text: &str| Id::parse(&RawValue::from_string(text.to_owned()).unwrap()).unwrap();
        assert_eq!(id(r#""a""#), id(r#""\u0061""#));
        assert_ne!(id("1"), id(r#""1""#));
        assert_ne!(id("1"), id("1.0"));
        let ids: std::collections::HashSet<_> = [id(r#""a""#), id(r#""\u0061""#), id("1"), id(r#""1""#)].into();
        assert_eq!(ids.len(), 3);
        let long = RawValue::from_string(format!("\"{}\"", "x".repeat(300))).unwrap();
        assert!(Id::parse(&long).is_err());
    }

    #[test]
    fn each_code_has_its_number_and_no_other_does() {
        for number in [-32700, -32600, -32601, -32602, -32603, -32002, -32020, -32021, -32022, -32042] {
            assert_eq!(ErrorCode::from_number(number).map(ErrorCode::number), Some(number));
        }
        assert_eq!(ErrorCode::from_number(-32000), None);
    }

    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Box<RawValue>> {
        (proptest::collection::btree_map(any::<String>(), any_json(), 0..4), any::<bool>()).prop_map(|(map, pretty)| {
            let text = if pretty { serde_json::to_string_pretty(&map) } else { serde_json::to_string(&map) };
            RawValue::from_string(text.unwrap()).unwrap()
        })
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let id = prop_oneof![any::<u64>().prop_map(Id::number), "[^\u{0}]{0,20}".prop_map(|text| Id(raw::raw(&text)))];
        let method = "[a-z/]{1,20}".prop_map(String::into_boxed_str);
        (0..4, id, method, any_object(), any::<i64>(), any::<bool>()).prop_map(
            |(kind, id, method, object, code, with)| match kind {
                0 => Message::Request(Request { id, method, params: with.then_some(object) }),
                1 => Message::Notification(Notification { method, params: with.then_some(object) }),
                2 => Message::Response(Response { id, result: object }),
                _ => Message::Error(ErrorResponse {
                    id: with.then_some(id),
                    error: RpcError { code, message: method, data: with.then_some(object) },
                }),
            },
        )
    }

    proptest! {
        #[test]
        fn reading_what_was_written_and_writing_it_again_changes_no_byte(message in any_message()) {
            let text = message.to_json();
            let Ok(Payload::One(read)) = parse(text.as_bytes(), Limits::default()) else {
                return Err(TestCaseError::fail(text));
            };
            prop_assert_eq!(read.to_json(), text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, LIMITS);
        }
    }
}
