//! Mail to people: how a letter is written, as text and as a page, and the queue it leaves a request by.
//!
//! Which letter is written is decided where it is asked for; sending is the outbox's. Invariant: what a request pays for a
//! letter is a place in a bounded queue, whether or not the letter is to be delivered.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use maud::{DOCTYPE, html};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::{Email, Secret};

use crate::ledger::LedgerError;
use crate::words::Language;

/// Letters that wait to be put into the outbox.
const WAITING: usize = 1_000;
/// Letters put there at once.
const BATCH: usize = 32;

/// A letter to one person.
#[derive(Debug, Clone)]
pub struct Letter {
    pub to: Email,
    /// One line.
    pub subject: String,
    pub text: Secret<String>,
    /// The same as an HTML page.
    pub html: Secret<String>,
    /// When it is worth nothing, in seconds since the epoch.
    pub expires_at: i64,
}

/// Where letters are put to be sent; they outlive the process there.
///
/// # Security
/// An implementation seals what a letter says.
pub trait Postbox: Send + Sync {
    /// Takes letters.
    fn post(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// One part of a letter, in order.
pub(crate) enum Part {
    Says(String),
    /// To be read off and typed.
    Code(String),
    /// To be opened.
    Link {
        label: String,
        address: String,
    },
}

/// Writes a letter. What stands in `parts` and in the names may come from anywhere.
pub(crate) fn write(
    to: Email,
    (language, organization): (Language, &str),
    subject: &str,
    parts: &[Part],
    expires_at: i64,
) -> Letter {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Says(said) | Part::Code(said) => text.extend([said, "\n\n"]),
            Part::Link { label, address } => text.extend([label, "\n", address, "\n\n"]),
        }
    }
    text.extend(["-- \n", organization, "\n"]);
    let page = html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head { meta charset="utf-8"; title { (subject) } }
            body style="font-family:system-ui,sans-serif;line-height:1.5;max-width:32rem;margin:1.5rem auto;padding:0 1rem" {
                p style="font-weight:600" { (organization) }
                @for part in parts {
                    @match part {
                        Part::Says(said) => p { (said) },
                        Part::Code(code) => p style="font-size:1.75rem;font-weight:700;letter-spacing:.15em" { (code) },
                        Part::Link { label, address } => p { (label) br; a href=(address) { (address) } },
                    }
                }
            }
        }
    };
    // A line break would begin another field of the mail's head.
    let subject = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Letter { to, subject, text: Secret::new(text), html: Secret::new(page.into_string()), expires_at }
}

/// A letter in the queue; `None` is one that nobody is to have, which takes its place all the same.
type Queued = Option<Letter>;

/// The queue between requests and the postbox.
pub(crate) struct MailQueue {
    sender: mpsc::Sender<Queued>,
    /// Until the task that empties it takes it.
    receiver: Mutex<Option<mpsc::Receiver<Queued>>>,
}

/// More letters wait than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much mail waits to be written down")]
pub(crate) struct QueueFull;

impl MailQueue {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// Puts a letter in the queue; one that is not to be delivered ends there.
    pub(crate) fn put(&self, letter: Letter, deliver: bool) -> Result<(), QueueFull> {
        self.sender.try_send(deliver.then_some(letter)).map_err(|_| QueueFull)
    }

    /// Empties the queue into the postbox until `stop`, and what is in it then.
    pub(crate) fn run(
        &self,
        postbox: Arc<dyn Postbox>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let receiver = self.receiver.lock().take();
        async move {
            let Some(mut receiver) = receiver else { return };
            let mut batch = Vec::with_capacity(BATCH);
            loop {
                let stopped = stop
                    .run_until_cancelled(receiver.recv_many(&mut batch, BATCH))
                    .await
                    .is_none_or(|count| count == 0);
                if stopped {
                    receiver.close();
                    while let Ok(letter) = receiver.try_recv() {
                        batch.push(letter);
                    }
                }
                let letters: Vec<Letter> = batch.drain(..).flatten().collect();
                let count = letters.len();
                if count > 0
                    && let Err(error) = postbox.post(letters).await
                {
                    tracing::error!(%error, count, "mail could not be written down; whoever waits for it must ask again");
                }
                if stopped {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, write};
    use crate::words::Language;

    #[test]
    fn what_comes_from_outside_is_text_in_a_letter() {
        let parts = [Part::Says("<b>Wiki</b>\nx".to_owned()), Part::Code("012345".to_owned())];
        let letter = write(
            "ada@example.test".parse().unwrap(),
            (Language::German, "A & B"),
            "Code\r\nBcc: eve@evil.test",
            &parts,
            7,
        );
        assert_eq!(letter.subject, "Code  Bcc: eve@evil.test");
        assert_eq!(letter.text.expose(), "<b>Wiki</b>\nx\n\n012345\n\n-- \nA & B\n");
        let html = letter.html.expose();
        assert!(html.contains("&lt;b&gt;Wiki&lt;/b&gt;") && html.contains("A &amp; B") && html.contains("lang=\"de\""));
        assert!(!html.contains("<b>") && html.contains(">012345<"));
    }
}
