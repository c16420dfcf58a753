//! Applications that are a part of this process: who calls is handed over as a value, not as fields of a request.
//!
//! Access decides who passes, as for any application; what such an application does with the request is its own. It may
//! stand for several applications at once (a portal stands before servers, each with policies of its own): it names them,
//! and hears which of them the same caller would be let into. Invariant: what is handed over is what this request's
//! policies decided, under the snapshot of this request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use identity::application::{ApplicationKind, Door};
use identity::audience::Audience;
use identity::evaluation::Verdict;
use identity::identity::Identity;
use identity::mfa_requirement::Proof;
use identity::service_token::ClientId;
use identity::session::{Session, SessionHash};
use net::proxy::body::Body;
use types::{ApplicationId, ServiceTokenId};
use url::Url;
use uuid::Uuid;

use crate::approval;
use crate::caller;
use crate::denial;
use crate::exchange::Exchange;
use crate::forward::Assertion;
use crate::gate;
use crate::snapshot::{Published, Snapshot};
use crate::workers::Asker;

/// An application that is part of this process.
pub trait Inside: Send + Sync + 'static {
    /// Returns the further applications it stands for; few.
    fn doors(&self) -> Vec<ApplicationId>;

    /// Answers what is open to everybody, whatever the policies say: documents that name nobody.
    fn open(&self, _path: &str, _site: &Url) -> Option<Response<Body>> {
        None
    }

    /// Answers a request whose caller was let through.
    fn visit(&self, visit: Visit) -> BoxFuture<'static, Outcome>;
}

/// What such an application makes of a request.
pub enum Outcome {
    Response(Response<Body>),
    /// The person in the browser is to prove a second factor no longer ago than this, and to come back with the request.
    Prove(Duration),
}

/// A request that was let through, and whose it is.
pub struct Visit {
    /// Without the caller's credentials, and with nothing that claims an identity.
    pub request: Request<Body>,
    /// The record of this request names it.
    pub id: Uuid,
    /// `https://host[:port]/` as the client dialled it.
    pub site: Url,
    pub application: ApplicationId,
    pub audience: Audience,
    pub source: IpAddr,
    pub visitor: Visitor,
    /// Those of [`Inside::doors`] whose policies let the caller in as well.
    pub open: Vec<ApplicationId>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub enum Visitor {
    /// The policies ask for nobody.
    Nobody,
    Person {
        identity: Arc<Identity>,
        /// The sign-in, which a browser and every agent that was allowed in it share.
        session: SessionHash,
        /// When each kind of second factor was last proved.
        proofs: Vec<Proof>,
        /// A client with a token that the person consented to, not their browser.
        agent: bool,
    },
    Program {
        id: ServiceTokenId,
        client_id: ClientId,
    },
}

impl Visitor {
    fn of(assertion: &Assertion<'_>) -> Self {
        let person = |session: &Session, hash, agent| Self::Person {
            identity: Arc::clone(&session.identity),
            session: hash,
            proofs: session.proofs(),
            agent,
        };
        match assertion {
            Assertion::Person(signed) => person(signed.live.session(), signed.hash, false),
            Assertion::Agent { held, .. } => person(&held.kept.session, held.hash, true),
            Assertion::Program { program: Some(program), .. } => {
                Self::Program { id: program.id, client_id: program.client_id.clone() }
            }
            Assertion::None | Assertion::Program { program: None, .. } => Self::Nobody,
        }
    }
}

/// Hands a request over.
pub(crate) async fn visit(
    exchange: &Exchange,
    published: &Published,
    inside: &Arc<dyn Inside>,
    request: Request<Body>,
    assertion: &Assertion<'_>,
) -> Option<Response<Body>> {
    let mut open = Vec::new();
    for door in inside.doors() {
        if opens(exchange, door, assertion).await {
            open.push(door);
        }
    }
    let visit = Visit {
        request,
        id: exchange.id,
        site: exchange.site(&exchange.host)?,
        application: published.application.id,
        audience: published.application.aud,
        source: exchange.source(),
        visitor: Visitor::of(assertion),
        open,
    };
    let by_agent = matches!(&visit.visitor, Visitor::Person { agent: true, .. } | Visitor::Program { .. });
    match inside.visit(visit).await {
        Outcome::Response(response) => Some(response),
        // Who has no browser cannot be sent to a page.
        Outcome::Prove(_) if by_agent => Some(denial::unauthorized("a person has to prove a second factor")),
        Outcome::Prove(within) => denial::prove(exchange, published, within),
    }
}

/// Tells whether an application lets the caller of this request in. What it would ask a person for first counts as no:
/// there is no page here to ask it on.
async fn opens(exchange: &Exchange, door: ApplicationId, assertion: &Assertion<'_>) -> bool {
    let Some(published) = find(&exchange.snapshot, door) else { return false };
    let (asker, person) = match assertion {
        Assertion::None | Assertion::Program { program: None, .. } => (Asker::Nobody, None),
        Assertion::Program { program: Some(program), .. } => (Asker::Program(program), None),
        Assertion::Person(signed) => {
            let session = signed.live.session();
            (Asker::Person(session), Some((signed.hash, session, exchange.now)))
        }
        // An agent cannot prove a factor: it had to be fresh at the consent.
        Assertion::Agent { held, .. } => {
            let session = &held.kept.session;
            (Asker::Person(session), Some((held.hash, session, session.seen)))
        }
    };
    match gate::ask_about(exchange, published, asker, None).await {
        Verdict::Bypass(_) | Verdict::NonIdentity(_) => true,
        Verdict::Allow(index) => {
            let (Some(policy), Some((hash, session, moment))) = (published.policies.policy(index), person) else {
                return false;
            };
            let door = match &published.application.kind {
                ApplicationKind::McpServer(server) => Door::from(server.as_ref()),
                ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app) => Door::from(app.as_ref()),
                ApplicationKind::Bookmark(_) | ApplicationKind::Launcher(_) => return false,
            };
            let rules = gate::mfa(exchange, policy, door);
            policy.justification.is_none()
                && !approval::owed(exchange, published, policy, (hash, session))
                && gate::fits(session, door)
                && !caller::owes_factor(rules.as_ref(), session, moment)
        }
        Verdict::Deny(_) | Verdict::Needs(_) | Verdict::SignIn => false,
    }
}

fn find(snapshot: &Snapshot, id: ApplicationId) -> Option<&Published> {
    snapshot.applications.iter().find(|published| published.application.id == id)
}
