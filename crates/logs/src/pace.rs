//! When the lake's work waits, so that those who are served have the processors to themselves while they need them all.
//!
//! What waits loses nothing: records are in the journal, and found there. It decides from what this process used of its
//! processors, a moment ago and with the work out of the way. Invariant: what is urgent never waits, and nothing waits longer
//! in a round than [`PATIENCE`].

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// For how long work goes on before it looks whether it is in the way, and for how long it looks. In less, the processors of
/// those who are served seem free now and then.
const LOOK: Duration = Duration::from_millis(50);
/// The longest that work waits in one round.
const PATIENCE: Duration = Duration::from_secs(300);
/// The share of the processors from which on they count as all in use.
const FULL: f64 = 0.85;
/// The share that others have of full processors from which on they may want more.
const NOTABLE: f64 = 0.25;

/// How much processor time was used since the process started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// By the whole process.
    pub process: Duration,
    /// By the thread that asks.
    pub own: Duration,
}

/// What the thread that asks, and everything else, used.
pub(crate) fn used() -> Used {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    Used { process: read(ClockId::ProcessCPUTime), own: read(ClockId::ThreadCPUTime) }
}

/// The pace of one thread's work.
pub(crate) struct Pace<'a> {
    used: &'a dyn Fn() -> Used,
    urgent: &'a dyn Fn() -> bool,
    processors: f64,
    last: Cell<(Instant, Used)>,
    waited: Cell<Duration>,
}

/// The shares of all processors that were used for a while.
struct Shares {
    all: f64,
    others: f64,
}

impl<'a> Pace<'a> {
    /// Begins a round. `used` tells how much processor time was used of so many `processors`, `urgent` whether the work must
    /// not wait.
    pub(crate) fn start(used: &'a dyn Fn() -> Used, urgent: &'a dyn Fn() -> bool, processors: usize) -> Self {
        let last = Cell::new((Instant::now(), used()));
        Self { used, urgent, processors: processors as f64, last, waited: Cell::default() }
    }

    /// Waits while others need the processors. To be asked between pieces of work of some milliseconds each.
    pub(crate) async fn give_way(&self) {
        if self.last.get().0.elapsed() < LOOK {
            return;
        }
        let Shares { all, others } = self.look();
        // Who uses all that is left of them may want what this work takes; how much shows without it.
        let mut wanted = all >= FULL && others >= NOTABLE;
        while wanted && self.waited.get() < PATIENCE && !(self.urgent)() {
            let began = Instant::now();
            tokio::time::sleep(LOOK).await;
            // Who stands back wakes late.
            self.waited.set(self.waited.get() + began.elapsed());
            wanted = self.look().others >= FULL;
        }
    }

    /// Returns what was used since the last look.
    fn look(&self) -> Shares {
        let (since, before) = self.last.get();
        let (now, used) = (Instant::now(), (self.used)());
        self.last.set((now, used));
        let could = (now - since).as_secs_f64().max(f64::EPSILON) * self.processors;
        let all = used.process.saturating_sub(before.process);
        let own = used.own.saturating_sub(before.own);
        Shares { all: all.as_secs_f64() / could, others: all.saturating_sub(own).as_secs_f64() / could }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{LOOK, PATIENCE, Pace, Used};

    /// Work of 60 ms at a time for `rounds` times beside others who want `others` of `processors`; returns how long it waited.
    async fn waits(processors: usize, others: f64, rounds: usize, urgent: impl Fn() -> bool) -> Duration {
        let (began, own) = (Instant::now(), Cell::new(Duration::ZERO));
        let used = || Used { process: began.elapsed().mul_f64(others) + own.get(), own: own.get() };
        let pace = Pace::start(&used, &urgent, processors);
        let piece = Duration::from_millis(60);
        let mut worked = Duration::ZERO;
        for _ in 0..rounds {
            tokio::time::advance(piece).await;
            // What the others leave of a processor, of which there may be several.
            own.set(own.get() + piece.mul_f64((processors as f64 - others).min(1.0)));
            worked += piece;
            pace.give_way().await;
        }
        began.elapsed() - worked
    }

    #[tokio::test(start_paused = true)]
    async fn work_waits_for_as_long_as_others_need_all_processors_and_no_longer() {
        for (processors, others, waited) in [
            // Nobody is served.
            (1, 0.0, Duration::ZERO),
            // A few are: there is room for both.
            (1, 0.2, Duration::ZERO),
            // Half of it is in use: one look shows each time that the rest is free.
            (1, 0.5, LOOK * 10),
            (1, 1.0, PATIENCE),
            // What is left of eight is enough, and no more than looked at where it is little.
            (8, 5.0, Duration::ZERO),
            (8, 6.0, LOOK * 10),
            (8, 7.9, PATIENCE),
        ] {
            assert_eq!(waits(processors, others, 10, || false).await, waited, "{others} of {processors}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_urgent_does_not_wait() {
        assert_eq!(waits(1, 1.0, 10, || true).await, Duration::ZERO);
        let asked = Cell::new(0);
        let soon = || {
            asked.set(asked.get() + 1);
            asked.get() > 3
        };
        assert_eq!(waits(1, 1.0, 10, soon).await, LOOK * 3);
    }

    #[test]
    fn time_on_the_processor_is_measured_for_thread_and_process() {
        let spin = || {
            let (before, mut sum) = (super::used(), 0_u64);
            while super::used().own - before.own < Duration::from_millis(10) {
                sum = std::hint::black_box(sum + 1);
            }
            (before, super::used())
        };
        let (before, after) = spin();
        let (others_before, others_after) = std::thread::spawn(spin).join().unwrap();
        assert!(after.process - before.process >= Duration::from_millis(10));
        assert!(others_after.own - others_before.own >= Duration::from_millis(10));
        assert!(others_before.own < after.own);
        assert!(others_after.process >= after.process + Duration::from_millis(10));
    }
}
