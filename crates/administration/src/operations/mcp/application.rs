//! The application of each portal and server, by which Access decides who may use it (reference section 5.2).
//!
//! It is made, moved and deleted with what it stands for. Invariant: it begins without a policy, so nobody may use what
//! nobody was let into.

use identity::application::ApplicationType;
use identity::destination::DestinationDocument;
use serde_json::json;
use types::{ApplicationId, McpServerId};
use uuid::Uuid;

use super::super::access::{applications, mcp_applications};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Makes the application of a server.
pub(super) async fn make_for_server(cx: &OpContext, server: &McpServerId, name: &str) -> Result<(), Failure> {
    let document = json!({
        "type": ApplicationType::Mcp,
        "name": name,
        "destinations": [DestinationDocument::via_portal(server)],
    });
    applications::create_as(cx, ApplicationId(Uuid::new_v4()), &document).await.map(|_| ())
}

/// Makes the application of a portal. Agents on the person's own machine may register themselves; an administrator adds
/// the addresses of others.
pub(super) async fn make_for_portal(cx: &OpContext, hostname: &str, name: &str) -> Result<(), Failure> {
    let document = json!({
        "type": ApplicationType::McpPortal,
        "name": name,
        "domain": hostname,
        "destinations": [DestinationDocument::public(hostname)],
        "oauth_configuration": {
            "enabled": true,
            "dynamic_client_registration": {
                "enabled": true, "allow_any_on_localhost": true, "allow_any_on_loopback": true,
            },
        },
    });
    let made = applications::create_as(cx, ApplicationId(Uuid::new_v4()), &document).await;
    made.map(|_| ()).map_err(at_hostname)
}

/// Moves the application of a portal to another host.
pub(super) async fn move_portal(cx: &OpContext, before: &str, hostname: &str, name: &str) -> Result<(), Failure> {
    let Some(standing) = mcp_applications::of_portal(cx, before).await? else {
        return make_for_portal(cx, hostname, name).await;
    };
    let mut document = standing.document.body.clone();
    document["domain"] = hostname.into();
    document["destinations"] = json!([DestinationDocument::public(hostname)]);
    applications::replace(cx, standing.id, &document).await.map(|_| ()).map_err(at_hostname)
}

/// Deletes the application of a server, if it is still there.
pub(super) async fn delete_of_server(cx: &OpContext, server: &McpServerId) -> Result<(), Failure> {
    match mcp_applications::of_server(cx, server).await? {
        Some(standing) => applications::delete(cx, standing.id).await,
        None => Ok(()),
    }
}

/// Deletes the application of a portal, if it is still there.
pub(super) async fn delete_of_portal(cx: &OpContext, hostname: &str) -> Result<(), Failure> {
    match mcp_applications::of_portal(cx, hostname).await? {
        Some(standing) => applications::delete(cx, standing.id).await,
        None => Ok(()),
    }
}

/// The author of a portal wrote `hostname`, not the members of an application.
fn at_hostname(failure: Failure) -> Failure {
    let problems = failure.problems.into_iter().map(|problem| Problem {
        pointer: problem.pointer.map(|pointer| match pointer.as_str() {
            "/domain" | "/destinations/0/uri" => "/hostname".to_owned(),
            _ => pointer,
        }),
        ..problem
    });
    Failure { problems: problems.collect(), ..failure }
}
