//! The OpenAPI document, made from the endpoint table; nothing in it is written twice.
//!
//! Invariant: it names every endpoint, with the permission each one wants.

use serde_json::json;
use utoipa::openapi::path::PathItem;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, License, OpenApi, OpenApiBuilder, RefOr, Required, ResponseBuilder,
    ServerBuilder,
};

use super::table::{Access, Components, Endpoint, Paging, Shape};

/// Builds the document for `endpoints`.
#[must_use]
pub fn document(endpoints: &[Endpoint]) -> OpenApi {
    let mut components = Components::new();
    let mut paths = PathsBuilder::new();
    for endpoint in endpoints {
        let item = PathItem::new(method(endpoint), operation(endpoint, &mut components));
        paths = paths.path(endpoint.path.replace("{*", "{"), item);
    }
    components.push(("ApiMessage".to_owned(), message_schema()));
    let info = InfoBuilder::new()
        .title("Portunus")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The v4 API of Portunus. Results stand in an envelope; see docs/api.md."))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Auth-Key")));
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/client/v4").build()]))
        .paths(paths)
        .components(Some(
            ComponentsBuilder::new()
                .schemas_from_iter(components)
                .security_scheme("token", bearer)
                .security_scheme("key", key)
                .build(),
        ))
        .build()
}

fn method(endpoint: &Endpoint) -> HttpMethod {
    match endpoint.method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(endpoint: &Endpoint, components: &mut Components) -> utoipa::openapi::path::Operation {
    let wanted = match endpoint.access {
        Access::Public => "Needs no credential.".to_owned(),
        Access::Authenticated => "Needs any valid credential.".to_owned(),
        Access::Permission(permission) => {
            format!("Needs permission `{permission}` ({}).", permission.cloudflare_name())
        }
    };
    let mut operation = OperationBuilder::new()
        .operation_id(Some(endpoint.id()))
        .tag(endpoint.tag())
        .summary(Some(endpoint.summary))
        .description(Some(wanted))
        .parameters(Some(parameters(endpoint)))
        .response("200", success(endpoint, components))
        .response("4XX", failure());
    if endpoint.access != Access::Public {
        operation = operation
            .security(SecurityRequirement::new("token", Vec::<String>::new()))
            .security(SecurityRequirement::new("key", Vec::<String>::new()));
    }
    let content = match endpoint.request {
        Shape::Nothing => None,
        Shape::Json(schema) => Some(("application/json", Content::new(Some(schema(components))))),
        Shape::Raw(media_type) => Some((media_type, Content::new(Some(text(None))))),
        Shape::WorkerForm => Some(("multipart/form-data", Content::new(Some(worker_form())))),
    };
    if let Some((media_type, content)) = content {
        let body = RequestBodyBuilder::new().content(media_type, content).required(Some(Required::True)).build();
        operation = operation.request_body(Some(body));
    }
    operation.build()
}

fn parameters(endpoint: &Endpoint) -> Vec<Parameter> {
    let path = endpoint.parameters().map(|name| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text(None)))
            .build()
    });
    let paging: &[(&str, &str)] = match endpoint.paging {
        Paging::No => &[],
        Paging::Single => &[("page", "pages after the first are empty")],
        Paging::Numbered => &[("page", "from 1"), ("per_page", "entries of a page")],
        Paging::Cursor => &[("cursor", "the cursor of the page before"), ("limit", "entries of a page")],
    };
    let query = paging.iter().chain(endpoint.query).map(|(name, description)| {
        ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(*description))
            .schema(Some(text(None)))
            .build()
    });
    path.chain(query).collect()
}

fn text(description: Option<&str>) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(description).build().into()
}

fn worker_form() -> RefOr<Schema> {
    ObjectBuilder::new()
        .property("metadata", text(Some("JSON: main_module, bindings, compatibility_date, egress, isolation")))
        .property("files", text(Some("one part per module, named as imports name it; JavaScript or TypeScript")))
        .required("metadata")
        .build()
        .into()
}

fn success(endpoint: &Endpoint, components: &mut Components) -> utoipa::openapi::Response {
    let response = ResponseBuilder::new().description("The operation succeeded");
    let result = match endpoint.response {
        Shape::Raw(media_type) => return response.content(media_type, Content::new(Some(text(None)))).build(),
        Shape::Json(schema) => schema(components),
        Shape::Nothing | Shape::WorkerForm => ObjectBuilder::new().build().into(),
    };
    response.content("application/json", Content::new(Some(envelope(result)))).build()
}

fn envelope(result: RefOr<Schema>) -> RefOr<Schema> {
    let messages = || {
        utoipa::openapi::schema::ArrayBuilder::new()
            .items(RefOr::Ref(utoipa::openapi::Ref::from_schema_name("ApiMessage")))
    };
    ObjectBuilder::new()
        .property("success", ObjectBuilder::new().schema_type(Type::Boolean))
        .property("errors", messages())
        .property("messages", messages())
        .property("result", result)
        .required("success")
        .required("errors")
        .required("messages")
        .required("result")
        .build()
        .into()
}

fn message_schema() -> RefOr<Schema> {
    ObjectBuilder::new()
        .property("code", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1000)))
        .property("message", text(None))
        .property("documentation_url", text(None))
        .property("source", ObjectBuilder::new().property("pointer", text(Some("RFC 6901"))))
        .required("code")
        .required("message")
        .examples([json!({"code": 1004, "message": "unknown member \"trafic\"; did you mean \"traffic\"?",
            "source": {"pointer": "/trafic"}})])
        .build()
        .into()
}

fn failure() -> utoipa::openapi::Response {
    let empty: RefOr<Schema> = ObjectBuilder::new().schema_type(Type::Null).build().into();
    ResponseBuilder::new()
        .description("The operation was refused; `errors` says why and what to do")
        .content("application/json", Content::new(Some(envelope(empty))))
        .build()
}
