//! Sign-ins at calls: which credential goes along, and what a client is told when there is none.
//!
//! Invariants: a call is made with the sign-in of its caller, or the administrator's where the portal says so, and never
//! with another; a session at a server lives as long as the sign-in it was begun in.

use std::sync::Arc;

use http::StatusCode;
use mcp::message::Id;
use mcp::oauth::challenge::Challenge;
use mcp::view::{ServerView, Standing};
use serde_json::value::RawValue;

use super::{Credential, NoCredential, Owner, SignIn};
use crate::elicit::Need;
use crate::snapshot::{Served, Way};
use crate::turn::Turn;
use crate::upstream::http::ExchangeError;
use crate::upstream::link::{Link, LinkError, Manner, Reply};
use crate::visit::Visitor;

/// Why a server is not reached.
pub(crate) enum NoAnswer {
    Link(LinkError),
    /// There is no way to it at all.
    Broken(String),
    /// A person has to sign in, or somebody else has to change something.
    SignIn(NoCredential),
    /// Service tokens and strangers have no sign-in of their own.
    NobodysOwn,
}

impl From<LinkError> for NoAnswer {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<NoCredential> for NoAnswer {
    fn from(error: NoCredential) -> Self {
        Self::SignIn(error)
    }
}

/// Says whose sign-in a call at an OAuth server is made with.
pub(crate) fn owner(visitor: &Visitor, served: &Served) -> Option<Owner> {
    match (served.on_behalf, visitor) {
        (false, _) => Some(Owner::Everybody),
        (true, Visitor::Person(person)) => Some(Owner::Person(person.user)),
        (true, Visitor::Program { .. } | Visitor::Nobody) => None,
    }
}

/// Finds the credential of a call; `None` where the server is not one that people sign in at.
pub(crate) async fn credential(turn: &Turn, served: &Served) -> Result<Option<Arc<Credential>>, NoAnswer> {
    let Some(site) = &served.sign_in else { return Ok(None) };
    let owner = owner(&turn.visitor, served).ok_or(NoAnswer::NobodysOwn)?;
    Ok(Some(turn.plane.sign_ins.credential(owner, &served.id, site).await?))
}

/// Says whether a server refused a credential, and what it asks for.
pub(crate) fn refusal(error: &LinkError) -> Option<Challenge> {
    if let LinkError::SignIn { challenge } = error {
        return Some(Challenge::parse(challenge.as_deref().unwrap_or_default()));
    }
    if let LinkError::Exchange(ExchangeError::Status { status, challenge: Some(challenge), .. }) = error
        && *status == StatusCode::FORBIDDEN
    {
        return Some(Challenge::parse(challenge)).filter(Challenge::is_step_up);
    }
    None
}

/// What is done at a server.
enum Attempt<'a> {
    Open,
    Request(Id, &'a str, &'a RawValue, &'a Manner),
}

impl Attempt<'_> {
    async fn make(&self, link: &Link) -> Result<Option<Reply>, LinkError> {
        match self {
            Self::Open => link.ready().await.map(|_| None),
            Self::Request(id, method, params, manner) => {
                link.request_as(id.clone(), method, Some(params), manner).await.map(Some)
            }
        }
    }
}

/// Does something at a server, and once more with a renewed credential when the first was refused: a server that refuses
/// a credential has done nothing.
async fn trying(
    turn: &Turn,
    served: &Served,
    link: &Link,
    used: Option<&Arc<Credential>>,
    attempt: Attempt<'_>,
) -> Result<Option<Reply>, NoAnswer> {
    let first = match attempt.make(link).await {
        Err(error) => error,
        Ok(done) => return Ok(done),
    };
    let (Some(site), Some(used), Some(challenge)) = (&served.sign_in, used, refusal(&first)) else {
        return Err(first.into());
    };
    let owner = owner(&turn.visitor, served).ok_or(NoAnswer::NobodysOwn)?;
    let sign_ins = &turn.plane.sign_ins;
    let renewed = sign_ins.refused((owner, &served.id), site, used, &challenge, false).await?;
    if !link.present(&renewed) {
        // Signed in anew meanwhile: the next call has a link of its own.
        return Err(first.into());
    }
    let second = match attempt.make(link).await {
        Err(error) => error,
        Ok(done) => return Ok(done),
    };
    if let Some(challenge) = refusal(&second) {
        sign_ins.refused((owner, &served.id), site, &renewed, &challenge, true).await?;
    }
    Err(second.into())
}

/// Opens a link unless it is open.
pub(crate) async fn open(
    turn: &Turn,
    served: &Served,
    link: &Link,
    used: Option<&Arc<Credential>>,
) -> Result<(), NoAnswer> {
    trying(turn, served, link, used, Attempt::Open).await.map(drop)
}

/// Sends a request over a link.
pub(crate) async fn request(
    turn: &Turn,
    served: &Served,
    link: &Link,
    used: Option<&Arc<Credential>>,
    (id, method, params, manner): (Id, &str, &RawValue, &Manner),
) -> Result<Reply, NoAnswer> {
    let reply = trying(turn, served, link, used, Attempt::Request(id, method, params, manner)).await?;
    reply.ok_or(NoAnswer::Link(LinkError::NoAnswer))
}

/// What a client is told: the page to visit, or what only others can change.
pub(crate) enum Told {
    Visit(Need),
    Words(String),
}

/// Says what a client is told of a sign-in that is missing.
pub(crate) fn told(turn: &Turn, served: &Served, reason: Option<&NoCredential>) -> Told {
    let name = &served.view.name;
    let own = matches!(owner(&turn.visitor, served), Some(Owner::Person(_)));
    match reason {
        None => Told::Words(format!(
            "{name} is used with a person's own sign-in; service tokens can use it where the portal's `on_behalf` is off"
        )),
        Some(NoCredential::Unavailable(reason)) => {
            tracing::warn!(%reason, server = %served.id, "a sign-in at an MCP server cannot be used");
            Told::Words(format!("the sign-in at {name} cannot be used at the moment; try again shortly"))
        }
        Some(_) if !own => Told::Words(format!("an administrator has to sign in at {name}")),
        Some(NoCredential::Missing) => Told::Visit(visit(turn, served, &format!("Sign in at {name} to use it."))),
        Some(NoCredential::Lapsed) => {
            Told::Visit(visit(turn, served, &format!("Your sign-in at {name} has ended. Sign in again to use it.")))
        }
        Some(NoCredential::More) => {
            Told::Visit(visit(turn, served, &format!("{name} wants to be allowed more. Sign in again to allow it.")))
        }
    }
}

fn visit(turn: &Turn, served: &Served, message: &str) -> Need {
    turn.plane.elicitations.ask(turn, Some(&served.id), message.to_owned())
}

/// How a server stands for a caller.
pub(crate) struct Stands {
    pub(crate) server: Arc<ServerView>,
    pub(crate) on: bool,
    pub(crate) standing: Standing,
    /// For a server that the caller signs in at: what is missing, if anything.
    pub(crate) own: Option<Result<(), NoCredential>>,
}

/// How every server of a view stands.
pub(crate) async fn standings(turn: &Turn) -> Vec<Stands> {
    let mut all = Vec::new();
    for (server, on) in turn.view.servers() {
        let (standing, own) = match turn.portal.server(&server.id) {
            Some(served) => stands(turn, served).await,
            None => (server.standing, None),
        };
        all.push(Stands { server: Arc::clone(server), on, standing, own });
    }
    all
}

async fn stands(turn: &Turn, served: &Served) -> (Standing, Option<Result<(), NoCredential>>) {
    let Some(site) = &served.sign_in else {
        let broken = matches!(served.way, Way::Broken(_));
        return (if broken { Standing::Unreachable } else { served.view.standing }, None);
    };
    let Some(owner) = owner(&turn.visitor, served) else { return (Standing::Unreachable, None) };
    let found = turn.plane.sign_ins.standing(owner, &served.id, site).await;
    let standing = match (&found, owner) {
        (Ok(()), _) => served.view.standing,
        (Err(NoCredential::Unavailable(_)), _) | (Err(_), Owner::Everybody) => Standing::Unreachable,
        (Err(_), Owner::Person(_)) => Standing::SignInAgain,
    };
    (standing, matches!(owner, Owner::Person(_)).then_some(found))
}

/// Whether a person signs in at a server themselves.
pub(crate) fn site_of<'a>(visitor: &Visitor, served: &'a Served) -> Option<(Owner, &'a Arc<SignIn>)> {
    let site = served.sign_in.as_ref()?;
    match owner(visitor, served)? {
        owner @ Owner::Person(_) => Some((owner, site)),
        Owner::Everybody => None,
    }
}
