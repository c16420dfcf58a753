//! How results and failures become HTTP: the v4 envelope, its numbers and its headers. Nothing else in this crate
//! writes an envelope. Invariant: every API answer, the refusals of the router included, is a JSON envelope.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use types::{ApiMessage, Code, Envelope, MessageSource, ResultInfo};

use super::gate::UNSUPPORTED_TYPE;
use crate::failure::Failure;

/// What a handler returns.
pub(crate) type Reply = Result<Response, Failure>;

/// A success with `result`.
pub(crate) fn ok<T: Serialize>(result: T) -> Reply {
    render(StatusCode::OK, &Envelope::success(result))
}

/// A success with nothing to say: `result` is `null`.
pub(crate) fn done() -> Reply {
    ok(Value::Null)
}

/// A page of a listing.
pub(crate) fn page<T: Serialize>(result: T, info: ResultInfo) -> Reply {
    render(StatusCode::OK, &Envelope::success(result).with_info(info))
}

fn render<T: Serialize>(status: StatusCode, envelope: &Envelope<T>) -> Reply {
    let body = serde_json::to_vec(envelope).map_err(|error| Failure::internal("envelope", &error))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A failure that only the transport knows, with a status no [`Code`] has.
pub(crate) fn refuse(status: StatusCode, number: u32, message: impl Into<String>) -> Response {
    let message = ApiMessage { code: number, message: message.into(), documentation_url: None, source: None };
    failure_response(status, vec![message])
}

fn failure_response(status: StatusCode, errors: Vec<ApiMessage>) -> Response {
    let envelope = Envelope::<Value>::failure(errors);
    let body = serde_json::to_vec(&envelope).unwrap_or_else(|_| b"{\"success\":false}".to_vec());
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let number = self.number();
        let status = match number {
            UNSUPPORTED_TYPE => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let errors = self.problems.into_iter().map(|problem| ApiMessage {
            code: number,
            message: problem.message,
            documentation_url: None,
            source: problem.pointer.map(|pointer| MessageSource { pointer: Some(pointer) }),
        });
        let mut response = failure_response(status, errors.collect());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"portunus\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
