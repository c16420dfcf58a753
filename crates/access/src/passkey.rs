//! Signing in with a passkey: built-in people, with no address and no password.
//!
//! It decides whom a passkey signs in. Invariants: the authenticator verified its user, nothing tells a passkey of nobody
//! from one that is wrong, and somebody who was deactivated is nobody.

use bytes::Bytes;
use http::StatusCode;
use identity::claims::Established;
use identity::identity::{Gaps, ProviderClaims};
use identity::mfa::webauthn::Answer;
use identity::provider::Provider;

use crate::exchange::Exchange;
use crate::ledger::LedgerError;
use crate::login;
use crate::mfa::{self, Unproved};
use crate::ticket::{self, CeremonyState};
use crate::webauthn::{self, Ask};
use crate::words::Message;

/// Why nobody is signed in.
pub(crate) enum Refused {
    /// What the sign-in page says.
    Told(StatusCode, Message),
    Ledger(LedgerError),
}

/// Makes what the sign-in page asks a browser; it names nobody.
pub(crate) fn ask(exchange: &Exchange, key: &str) -> Option<Ask> {
    let (options, state) = webauthn::party(exchange)?.begin_sign_in(exchange.now.seconds(), &ticket::random()?).ok()?;
    Ask::new(exchange, key, None, &options, CeremonyState::Proof(state))
}

/// Finds whom an answer signs in. `key` is the browser's.
pub(crate) async fn sign_in(
    exchange: &Exchange,
    provider: &Provider,
    key: &str,
    fields: &Bytes,
) -> Result<Established, Refused> {
    let refused = || Refused::Told(StatusCode::UNAUTHORIZED, Message::PasskeyRefused);
    let field = |name: &str| login::field(fields, name).unwrap_or_default();
    let ceremony = webauthn::open(exchange, key, None, &field("ceremony"));
    let (Some(CeremonyState::Proof(state)), Some(party)) = (ceremony, webauthn::party(exchange)) else {
        return Err(refused());
    };
    let answer = Answer::read(field("answer").as_bytes()).map_err(|_| refused())?;
    let user = answer.user().ok_or_else(refused)?;
    let plane = exchange.plane();
    let outcome = mfa::prove_passkey(&*plane.factors, user, (&party, &state, &answer), exchange.now.seconds()).await;
    match outcome {
        Ok(()) => {}
        Err(Unproved::Key(error)) => {
            tracing::info!(%error, %user, "a passkey was refused");
            return Err(refused());
        }
        Err(Unproved::TooMany(_) | Unproved::Wrong) => return Err(refused()),
        Err(Unproved::Ledger(error)) => return Err(Refused::Ledger(error)),
    }
    let known = plane.ledger.known(user).await.map_err(Refused::Ledger)?;
    let (email, name) = known.ok_or_else(refused)?;
    let claims = ProviderClaims { provider: provider.id, groups: [].into(), claims: [].into(), gaps: Gaps::NONE };
    // A key was possessed and its user verified (RFC 8176); neither word stands for a second factor.
    Ok(Established { email, name, amr: vec!["pop".into(), "user".into()], claims })
}
