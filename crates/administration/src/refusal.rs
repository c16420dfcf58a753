//! How a failure becomes HTTP: the v4 envelope, its numbers and its headers.
//!
//! It knows no route and no success. It stands beside [`Failure`] because a type takes on a foreign trait only in its own
//! crate. Invariant: a refusal is always a JSON envelope.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use types::{ApiMessage, Code, Envelope, MessageSource};

use crate::failure::Failure;

/// The number of a failure that leaves as 415.
pub const UNSUPPORTED_TYPE: u32 = 10415;

/// An envelope with `errors` under `status`.
#[must_use]
pub fn failure_response(status: StatusCode, errors: Vec<ApiMessage>) -> Response {
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
