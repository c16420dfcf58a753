//! Clients that call in turn, so that a proxy has room to spare and what is measured is how long it takes, not how long its
//! clients wait for each other.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Hands out turns to one client after the other, evenly spread over `pause`.
pub(crate) struct Turns {
    clients: Vec<mpsc::Sender<()>>,
    pause: Duration,
}

/// The turns of one client; `None` calls without a pause.
pub(crate) struct Turn(Option<mpsc::Receiver<()>>);

impl Turns {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { clients: Vec::new(), pause }
    }

    pub(crate) fn client(&mut self) -> Turn {
        let (sender, receiver) = mpsc::channel(1);
        self.clients.push(sender);
        Turn(Some(receiver))
    }

    /// Begins. A thread of its own keeps the time: a runtime's timers go by the millisecond, and clients that once meet in
    /// one stay together.
    pub(crate) fn begin(self, until: Instant) {
        std::thread::spawn(move || {
            let apart = self.pause / u32::try_from(self.clients.len()).unwrap_or(1);
            let mut at = Instant::now();
            for client in self.clients.iter().cycle() {
                at += apart;
                if at >= until {
                    break;
                }
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                // One that still waits for its answer is passed over.
                let _ = client.try_send(());
            }
        });
    }
}

impl Turn {
    pub(crate) fn always() -> Self {
        Self(None)
    }

    /// Waits for the next turn; `false` when there is none any more.
    pub(crate) async fn next(&mut self) -> bool {
        match &mut self.0 {
            Some(turns) => turns.recv().await.is_some(),
            None => true,
        }
    }
}
