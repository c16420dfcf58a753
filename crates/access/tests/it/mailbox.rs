//! What sign-ins by mail keep, and the letters, in memory: as a store would, with its revisions.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use access::{KeptPin, KeptRate, LedgerError, Letter, PinLedger, Postbox};
use futures_util::future::BoxFuture;
use identity::opaque::Digest;
use identity::pin::PendingPin;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct Mailbox {
    pub(crate) gone: AtomicBool,
    pub(crate) pins: Mutex<HashMap<Digest, KeptPin>>,
    rates: Mutex<HashMap<Digest, KeptRate>>,
    /// Writes so far, letters not among them: those are written after a page was answered.
    pub(crate) writes: AtomicUsize,
    letters: Mutex<Vec<Letter>>,
    arrived: Notify,
}

impl Mailbox {
    fn reach(&self) -> Result<(), LedgerError> {
        if self.gone.load(Ordering::SeqCst) { Err(LedgerError::Unavailable("gone".to_owned())) } else { Ok(()) }
    }

    /// Waits for the letter to an address and takes it.
    pub(crate) async fn letter(&self, to: &str) -> Letter {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut letters = self.letters.lock().unwrap();
                if let Some(at) = letters.iter().position(|letter| letter.to.as_str() == to) {
                    return letters.remove(at);
                }
            }
            tokio::time::timeout(std::time::Duration::from_secs(30), arrived).await.unwrap();
        }
    }

    /// The six digits of the code that was mailed to an address.
    pub(crate) async fn code(&self, to: &str) -> String {
        let letter = self.letter(to).await;
        let mut lines = letter.text.expose().lines();
        lines.find(|line| line.len() == 6 && line.bytes().all(|b| b.is_ascii_digit())).unwrap().to_owned()
    }

    /// Whom letters that nobody took are for.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.letters.lock().unwrap().iter().map(|letter| letter.to.to_string()).collect()
    }
}

impl PinLedger for Mailbox {
    fn begin<'a>(&'a self, login: Digest, pin: &'a PendingPin, _: &'a str) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut pins = self.pins.lock().unwrap();
            let revision = pins.get(&login).map_or(1, |kept| kept.revision + 1);
            pins.insert(login, KeptPin { revision, pin: pin.clone() });
            Ok(())
        })
    }

    fn pending(&self, login: Digest) -> BoxFuture<'_, Result<Option<KeptPin>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            Ok(self.pins.lock().unwrap().get(&login).cloned())
        })
    }

    fn settle<'a>(&'a self, login: Digest, kept: &'a KeptPin) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut pins = self.pins.lock().unwrap();
            let right = pins.get(&login).is_some_and(|known| known.revision == kept.revision);
            if right {
                pins.insert(login, KeptPin { revision: kept.revision + 1, pin: kept.pin.clone() });
            }
            Ok(right)
        })
    }

    fn rate(&self, of: Digest) -> BoxFuture<'_, Result<KeptRate, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            Ok(self.rates.lock().unwrap().get(&of).copied().unwrap_or_default())
        })
    }

    fn spend(&self, of: Digest, kept: KeptRate, _: i64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut rates = self.rates.lock().unwrap();
            let right = rates.get(&of).map_or(0, |known| known.revision) == kept.revision;
            if right {
                rates.insert(of, KeptRate { revision: kept.revision + 1, ..kept });
            }
            Ok(right)
        })
    }
}

impl Postbox for Mailbox {
    fn post(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.letters.lock().unwrap().extend(letters);
            self.arrived.notify_waiters();
            Ok(())
        })
    }
}
