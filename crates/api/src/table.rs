//! What one endpoint is: method, path, who may call it, what goes in and comes out, and its handler.
//!
//! The router, the authorization gate, the OpenAPI document and the tests that walk every route are all made from values
//! of this type, so none of them can miss one. Invariant: an endpoint without an explicit [`Access`] cannot be built.

use std::sync::Arc;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use store::Permission;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::app::App;

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a credential.
    Public,
    /// Anyone with a valid credential.
    Authenticated,
    /// A credential that carries this permission.
    Permission(Permission),
}

/// Schemas that a shape refers to, by name.
pub type Components = Vec<(String, RefOr<Schema>)>;

/// What a body looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// No body, or a result without content.
    Nothing,
    /// JSON of this schema. In a response it stands in the envelope's `result`.
    Json(fn(&mut Components) -> RefOr<Schema>),
    /// Bytes of this media type, without an envelope.
    Raw(&'static str),
    /// A multipart form of Worker modules and their metadata.
    WorkerForm,
}

/// The schema of one `T`.
pub fn one<T: ToSchema>(components: &mut Components) -> RefOr<Schema> {
    let name = T::name().into_owned();
    if !components.iter().any(|(known, _)| *known == name) {
        components.push((name.clone(), <T as PartialSchema>::schema()));
        T::schemas(components);
    }
    RefOr::Ref(Ref::from_schema_name(name))
}

/// The schema of a list of `T`.
pub fn many<T: ToSchema>(components: &mut Components) -> RefOr<Schema> {
    utoipa::openapi::schema::ArrayBuilder::new().items(one::<T>(components)).build().into()
}

/// How a listing is paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    No,
    /// One page; `?page=2` is empty.
    Single,
    /// `page`, `per_page`.
    Numbered,
    /// `cursor`, `limit`.
    Cursor,
}

/// Most bytes of a JSON body where an endpoint does not say otherwise.
pub const DEFAULT_BODY_LIMIT: usize = 1 << 20;

/// One operation of the API.
pub struct Endpoint {
    pub method: Method,
    /// Below `/client/v4`.
    pub path: &'static str,
    pub access: Access,
    pub summary: &'static str,
    pub request: Shape,
    pub response: Shape,
    pub paging: Paging,
    /// Query parameters beyond those of the paging, with what they mean.
    pub query: &'static [(&'static str, &'static str)],
    pub body_limit: usize,
    pub(crate) route: MethodRouter<Arc<App>>,
}

/// Begins an endpoint.
pub(crate) fn endpoint<H, T>(
    method: Method,
    path: &'static str,
    access: Access,
    summary: &'static str,
    handler: H,
) -> Endpoint
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    let filter = match method {
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    };
    Endpoint {
        method,
        path,
        access,
        summary,
        request: Shape::Nothing,
        response: Shape::Nothing,
        paging: Paging::No,
        query: &[],
        body_limit: DEFAULT_BODY_LIMIT,
        route: on(filter, handler),
    }
}

impl Endpoint {
    pub(crate) fn takes(mut self, request: Shape) -> Self {
        self.request = request;
        self
    }

    pub(crate) fn takes_json<T: ToSchema>(self) -> Self {
        self.takes(Shape::Json(one::<T>))
    }

    pub(crate) fn takes_list<T: ToSchema>(self) -> Self {
        self.takes(Shape::Json(many::<T>))
    }

    pub(crate) fn returns<T: ToSchema>(mut self) -> Self {
        self.response = Shape::Json(one::<T>);
        self
    }

    pub(crate) fn lists<T: ToSchema>(mut self, paging: Paging) -> Self {
        self.response = Shape::Json(many::<T>);
        self.paging = paging;
        self
    }

    pub(crate) fn returns_raw(mut self, media_type: &'static str) -> Self {
        self.response = Shape::Raw(media_type);
        self
    }

    pub(crate) fn query(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }

    pub(crate) fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// Names of the path parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| name.trim_start_matches('*'))
    }

    /// The operation id: method and the words of the path.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = self.method.as_str().to_ascii_lowercase();
        // Nearly every path is below the account; only the account itself needs to say so.
        let path = self.path.replace("/{account_id}/", "/");
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            id.push('_');
            id.push_str(&segment.trim_matches(|c| matches!(c, '{' | '}' | '*')).replace('-', "_"));
        }
        id
    }

    /// The group the operation belongs to: its first path segments that say something.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        let mut words = self.path.split('/').filter(|word| !word.is_empty() && !word.starts_with('{'));
        match (words.next(), words.next(), words.next()) {
            (Some("accounts"), Some("gateway"), Some(what)) => what,
            (Some("accounts"), Some("gateway"), None) => "gateway",
            (Some("accounts"), Some("access"), Some(what)) => what,
            (Some("accounts"), Some("resource-library"), _) => "catalog",
            (Some("accounts"), Some("workers"), _) => "workers",
            (Some("accounts"), Some("storage"), _) => "kv",
            (Some("accounts"), Some("tokens"), _) | (Some("user"), Some("tokens"), _) => "tokens",
            (Some("accounts"), Some("portunus"), Some(what)) => what,
            (Some("portunus"), ..) => "session",
            _ => "account",
        }
    }
}
