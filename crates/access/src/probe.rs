//! Asks an application's origin for a sign of life: the same way a request goes, with nobody's identity.
//!
//! Invariant: it is bounded in time, reads no body, and tells nothing of what the origin sent but its status.

use std::time::Duration;

use http::{Request, StatusCode, header};
use net::proxy::body::empty_body;
use net::upstream::SendError;
use types::ApplicationId;

use crate::access::Access;

/// How long an origin may take.
const LONGEST: Duration = Duration::from_secs(5);

/// Why an origin gave no sign of life.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("it cannot be reached")]
    Send(#[from] SendError),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("it took longer than 5 seconds")]
    Slow,
}

impl Access {
    /// Asks the origin of an application for `/`; `None` when it is not in force or has no usable origin.
    ///
    /// # Errors
    /// The origin cannot be reached or takes too long.
    pub async fn probe(&self, application: ApplicationId) -> Result<Option<StatusCode>, ProbeError> {
        let snapshot = self.snapshot();
        let found = snapshot.applications.iter().find(|published| published.application.id == application);
        let Some((published, backend)) = found.and_then(|published| Some((published, published.backend.clone()?)))
        else {
            return Ok(None);
        };
        let destination = published.self_hosted().and_then(|app| app.destinations.first());
        let host = match (&backend.host_header, destination) {
            (Some(host), _) => host.clone(),
            (None, Some(pattern)) => pattern.host().trim_start_matches("*.").to_owned(),
            (None, None) => return Ok(None),
        };
        let request = Request::get("/").header(header::HOST, host).header(header::USER_AGENT, "Portunus origin check");
        let request = request.body(empty_body())?;
        match tokio::time::timeout(LONGEST, backend.pool.send(&backend.route, request)).await {
            Ok(Ok(answer)) => Ok(Some(answer.response.status())),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ProbeError::Slow),
        }
    }
}
