//! Empties the outbox into the account's mail server.
//!
//! Which mail is written is its writers' concern; here stand when an attempt is made, and when the attempts end. A mail is
//! claimed in the store before it is sent, for longer than an attempt may take, so that of many nodes one sends it.
//! Invariant: a mail that was noted as sent is not sent again. A node that is killed between the server's answer and that
//! note sends it twice, under one `Message-ID`: SMTP has no way to ask (RFC 1047).

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use net::Host;
use net::smtp::{Letter, Protection, Smtp, SmtpError, SmtpGround, SmtpSettings};
use store::{Change, ChangeFeed, Kind, Mail, MailServer, MailTls, Only, Operate, Principal, Store, Stored};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use types::{AccountId, Secret};

use crate::upstream::Upstream;

/// One attempt, from the name's resolution to the server's answer.
const ATTEMPT: Duration = Duration::from_secs(45);
/// For how long a mail is claimed: an attempt, and the time to write down what came of it.
const CLAIM: Duration = Duration::from_secs(90);
/// Pauses after failed attempts; after the last the mail has failed.
const PAUSES: [Duration; 8] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(3_600),
    Duration::from_secs(3 * 3_600),
    Duration::from_secs(6 * 3_600),
];
/// How often the outbox is looked at when nothing says that it changed.
const LOOK: Duration = Duration::from_secs(5);
/// What is under way when the platform stops may take so long: a mail that is given up may have been taken.
const GRACE: Duration = Duration::from_secs(5);
/// Mails read at once, and sent at once.
const BATCH: usize = 32;
const AT_ONCE: usize = 4;

/// Why the outbox cannot be emptied at the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Denied(#[from] store::Denied),
    #[error("the settings of the mail server cannot be used")]
    Settings(#[from] SmtpError),
}

/// Owned by the one task that runs it.
pub(crate) struct Outbox {
    pub store: Store,
    pub account: AccountId,
    pub clock: net::Clock,
    pub upstream: Arc<Upstream>,
    pub feed: ChangeFeed,
}

impl Outbox {
    /// Sends what is due until `stop`. What is under way then has [`GRACE`] to end, or is tried again after its claim.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut server = None;
        let mut stale = true;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = look.tick() => {}
                changes = self.feed.next() => {
                    stale |= changes.iter().any(|change| concerns(change, &[Kind::MailServer, Kind::Network]));
                    // Sessions and the like change all the time, and say nothing about mail.
                    if !stale && !changes.iter().any(|change| concerns(change, &[Kind::Mail])) {
                        continue;
                    }
                }
            }
            if stale {
                match self.server().await {
                    Ok(found) => (server, stale) = (found, false),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "mail waits in the outbox");
                        server = None;
                    }
                }
            }
            let Some(server) = &server else { continue };
            let mut emptying = pin!(self.empty(server, &stop));
            let emptied = match stop.run_until_cancelled(&mut emptying).await {
                Some(emptied) => emptied,
                None => tokio::time::timeout(GRACE, emptying).await.unwrap_or(Ok(())),
            };
            if let Err(error) = emptied {
                tracing::error!(error = &error as &dyn std::error::Error, "mail waits in the outbox");
            }
        }
    }

    async fn server(&self) -> Result<Option<Smtp>, OutboxError> {
        let grant = Principal::system("outbox").authorize::<Operate>(self.account)?;
        let Some(mut stored) = self.store.mail_server().get(&grant, &Only).await? else { return Ok(None) };
        let password = self.store.mail_server().open_members(&grant, &mut stored)?.remove("password");
        let network = self.store.network().get(&grant, &Only).await?;
        let mut trust = self.upstream.trust();
        trust.extra_pem.extend(network.map(|network| network.document.roots).unwrap_or_default());
        let ground = SmtpGround {
            resolver: self.upstream.resolver(),
            trust,
            own_listeners: self.upstream.guard().own_listeners,
            clock: Arc::clone(&self.clock),
        };
        Ok(Some(Smtp::new(settings(stored.document, password)?, ground, ATTEMPT)?))
    }

    /// Sends what is due, batch after batch, and begins nothing after `stop`.
    async fn empty(&self, server: &Smtp, stop: &CancellationToken) -> Result<(), OutboxError> {
        let grant = Principal::system("outbox").authorize::<Operate>(self.account)?;
        loop {
            let due = self.store.outbox().due(&grant, BATCH).await?;
            if due.is_empty() || stop.is_cancelled() {
                return Ok(());
            }
            let attempts = due.into_iter().map(|mail| self.attempt(server, mail, stop));
            let mut sending = futures_util::stream::iter(attempts).buffer_unordered(AT_ONCE);
            // One that cannot be written down must not break off those beside it: their server may have taken them.
            let mut first = Ok(());
            while let Some(outcome) = sending.next().await {
                first = first.and(outcome);
            }
            first?;
        }
    }

    async fn attempt(&self, server: &Smtp, mail: Stored<Mail>, stop: &CancellationToken) -> Result<(), OutboxError> {
        if stop.is_cancelled() {
            return Ok(());
        }
        let grant = Principal::system("outbox").authorize::<Operate>(self.account)?;
        let outbox = self.store.outbox();
        let Some(mut mail) = outbox.claim(&grant, mail, CLAIM).await? else { return Ok(()) };
        let mut members = outbox.open_members(&grant, &mut mail)?;
        let Some(text) = members.remove("text") else {
            return Ok(outbox.failed(&grant, mail, "the text is gone", None).await?);
        };
        let (id, html) = (mail.id.to_string(), members.remove("html"));
        let letter = Letter {
            to: &mail.document.to,
            subject: &mail.document.subject,
            text: text.expose(),
            html: html.as_ref().map(|html| html.expose().as_str()),
            id: &id,
            date: mail.created_at,
        };
        let Err(error) = server.send(&letter).await else { return Ok(outbox.sent(&grant, mail).await?) };
        let reason = error.to_string();
        let again = if error.is_permanent() { None } else { pause(mail.document.attempts) };
        tracing::warn!(mail = %mail.id, %reason, attempts = mail.document.attempts, "a mail was not taken");
        Ok(outbox.failed(&grant, mail, &reason, again).await?)
    }
}

/// The pause after so many attempts; `None` after the last.
fn pause(attempts: u32) -> Option<Duration> {
    PAUSES.get(usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX)).copied()
}

fn settings(server: MailServer, password: Option<Secret<String>>) -> Result<SmtpSettings, SmtpError> {
    let host = Host::parse(&server.host).map_err(|error| SmtpError::Unusable(error.to_string()))?;
    let protection = match server.tls {
        MailTls::Implicit => Protection::Implicit,
        MailTls::Starttls => Protection::StartTls,
        MailTls::None => Protection::Loopback,
    };
    let credentials = server.username.zip(password);
    Ok(SmtpSettings { host, port: server.port, protection, credentials, from: server.from })
}

fn concerns(change: &Change, kinds: &[Kind]) -> bool {
    match change {
        Change::Resync { .. } => true,
        Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document) => {
            kinds.contains(&document.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSES, pause};

    #[test]
    fn attempts_come_ever_later_and_end() {
        let all: Vec<_> = (1..).map_while(pause).collect();
        assert_eq!(all, PAUSES);
        assert!(all.is_sorted());
    }
}
