//! What Access lets through to a portal, in the words of the portals' plane.
//!
//! Invariant: nothing is added to what Access says of a caller.

use std::sync::Arc;

use ::access::{Inside, Outcome, Visit, Visitor};
use ::agents::visit;
use ::agents::{Agents, Answer};
use futures_util::future::BoxFuture;
use http::Response;
use identity::identity::Identity;
use net::proxy::body::Body;
use types::ApplicationId;
use url::Url;

/// The portal at a host.
pub(crate) struct Portal {
    pub agents: Agents,
    /// In lower case.
    pub host: String,
}

impl Inside for Portal {
    fn doors(&self) -> Vec<ApplicationId> {
        self.agents.doors(&self.host)
    }

    fn open(&self, path: &str, site: &Url) -> Option<Response<Body>> {
        self.agents.open(&self.host, path, site)
    }

    fn visit(&self, visit: Visit) -> BoxFuture<'static, Outcome> {
        let Visit { request, id, site, source, visitor, open, .. } = visit;
        let visitor = match visitor {
            Visitor::Nobody => visit::Visitor::Nobody,
            Visitor::Program { id, client_id } => visit::Visitor::Program { id, name: client_id.to_string() },
            Visitor::Person { identity, session, proofs, agent } => visit::Visitor::Person(Arc::new(visit::Person {
                sign_in: *session.bytes(),
                factor_at: proofs.iter().map(|proof| proof.at).max(),
                agent,
                ..person(&identity)
            })),
        };
        let open = open.into_iter().collect();
        let answer = self.agents.answer(&self.host, visit::Visit { request, id, site, source, visitor, open });
        Box::pin(async move {
            match answer.await {
                Answer::Response(response) => Outcome::Response(response),
                Answer::Prove(within) => Outcome::Prove(within),
            }
        })
    }
}

/// Somebody, as they last signed in.
pub(super) fn person(identity: &Identity) -> visit::Person {
    let mut person = visit::Person {
        user: identity.user,
        email: identity.email.clone(),
        name: identity.name.to_string(),
        group_ids: Vec::new(),
        group_names: Vec::new(),
        group_emails: Vec::new(),
        claims: Vec::new(),
        login_methods: identity.steps.iter().map(|step| step.provider.to_string()).collect(),
        amr: identity.amr.iter().map(|value| value.to_string()).collect(),
        sign_in: [0; 32],
        factor_at: None,
        agent: false,
    };
    for step in &identity.steps {
        for group in &step.groups {
            let take = |list: &mut Vec<String>, value: &str| list.extend((!value.is_empty()).then(|| value.to_owned()));
            take(&mut person.group_ids, &group.id);
            take(&mut person.group_names, &group.name);
            take(&mut person.group_emails, &group.email);
        }
        person.claims.extend(step.claims.iter().map(|claim| format!("{}={}", claim.0, claim.1)));
    }
    person
}
