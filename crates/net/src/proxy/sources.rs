//! Counts open client connections, over all sources and per source.
//!
//! Touched when a connection opens and closes, never per request. Invariant: the map holds an entry only for sources with
//! an open connection, so it is bounded by the total.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

#[derive(Debug)]
pub struct Sources {
    open: Mutex<Open>,
    total: usize,
    per_source: usize,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Sources {
    pub fn new(total: usize, per_source: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), total, per_source })
    }

    /// Admits one more connection from `source`, until the place is dropped.
    pub fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let source = source.to_canonical();
        let mut open = self.open.lock();
        if open.count >= self.total {
            return None;
        }
        let count = open.by_source.entry(source).or_default();
        if *count >= self.per_source {
            return None;
        }
        *count += 1;
        open.count += 1;
        Some(Place { sources: Arc::clone(self), source })
    }

    pub fn open(&self) -> usize {
        self.open.lock().count
    }
}

/// One admitted connection.
#[derive(Debug)]
pub struct Place {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sources.open.lock();
        open.count = open.count.saturating_sub(1);
        if let Some(count) = open.by_source.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sources;

    #[test]
    fn places_are_bounded_and_come_back() {
        let sources = Sources::new(3, 2);
        let admit = |text: &str| sources.admit(text.parse().unwrap());
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        let other = admit("192.0.2.2").unwrap();
        assert!(admit("192.0.2.3").is_none());
        drop((first, other));
        assert_eq!((sources.open(), sources.open.lock().by_source.len()), (1, 1));
        assert!(admit("192.0.2.1").is_some());
    }
}
