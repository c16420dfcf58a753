//! The v4 API envelope: `{success, errors, messages, result, result_info}`.

use serde::{Deserialize, Serialize};

/// The body of every API answer (reference section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    pub success: bool,
    pub errors: Vec<ApiMessage>,
    pub messages: Vec<ApiMessage>,
    pub result: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result_info: Option<ResultInfo>,
}

impl<T> Envelope<T> {
    /// Wraps the result of a call that succeeded.
    pub const fn success(result: T) -> Self {
        Self { success: true, errors: Vec::new(), messages: Vec::new(), result: Some(result), result_info: None }
    }

    /// Wraps the reasons of a call that failed.
    pub const fn failure(errors: Vec<ApiMessage>) -> Self {
        Self { success: false, errors, messages: Vec::new(), result: None, result_info: None }
    }

    #[must_use]
    pub fn with_info(mut self, info: ResultInfo) -> Self {
        self.result_info = Some(info);
        self
    }
}

/// One entry of `errors` or `messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiMessage {
    /// 1000 or more.
    pub code: u32,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub documentation_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<MessageSource>,
}

/// Where in the request body the fault lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSource {
    /// RFC 6901 JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pointer: Option<String>,
}

/// Paging, in both styles the API uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultInfo {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub per_page: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub total_pages: Option<u64>,
    /// Empty or absent at the end of a listing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cursor: Option<String>,
}
