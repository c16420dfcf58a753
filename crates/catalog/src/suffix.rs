//! A table of domain suffixes, read from the right end of a host name, one label at a time.
//!
//! It knows nothing of what the suffixes stand for. Invariants: a lookup allocates nothing and reads the host once; a
//! suffix is compared in full, so two that share a hash are never taken for each other; suffixes are in lower case.

/// The longest host that is looked up, in bytes (RFC 1035 section 2.3.4).
pub const LONGEST_HOST: usize = 255;

#[derive(Debug, Clone, Copy)]
struct Entry<V> {
    at: u32,
    length: u16,
    value: V,
}

/// Suffixes with a value each.
#[derive(Debug, Clone)]
pub struct SuffixTable<V> {
    text: String,
    entries: Vec<Entry<V>>,
    /// Open addressing: one more than the place of an entry, 0 for none. A power of two, at most half full.
    slots: Vec<u32>,
}

impl<V> Default for SuffixTable<V> {
    fn default() -> Self {
        Self { text: String::new(), entries: Vec::new(), slots: vec![0; 16] }
    }
}

impl<V: Copy> SuffixTable<V> {
    /// Counts the suffixes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the bytes the table takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<Entry<V>>() + self.slots.capacity() * 4
    }

    /// Returns the value of a suffix, entered as `fresh` if it is not there.
    pub fn entry(&mut self, suffix: &str, fresh: V) -> &mut V {
        let hash = hash(suffix);
        let found = self.probe(hash, suffix.as_bytes());
        let place = match found {
            Some(place) => place,
            None => self.insert(hash, suffix, fresh),
        };
        &mut self.entries[place].value
    }

    /// Returns the value of exactly this suffix.
    #[must_use]
    pub fn get(&self, suffix: &str) -> Option<V> {
        self.probe(hash(suffix), suffix.as_bytes()).map(|place| self.entries[place].value)
    }

    /// Gives every suffix of `host` that is in the table to `found`, the shortest first, with its length in bytes.
    pub fn visit(&self, host: &str, mut found: impl FnMut(usize, V)) {
        let bytes = host.as_bytes();
        if bytes.len() > LONGEST_HOST {
            return;
        }
        let mut state = SEED;
        for at in (0..bytes.len()).rev() {
            let byte = bytes[at];
            // What stands to the right of a dot, and the whole host, are the suffixes.
            if byte == b'.'
                && let Some(place) = self.probe(finish(state), &bytes[at + 1..])
            {
                found(bytes.len() - at - 1, self.entries[place].value);
            }
            state = step(state, byte);
        }
        if let Some(place) = self.probe(finish(state), bytes) {
            found(bytes.len(), self.entries[place].value);
        }
    }

    /// Returns the value of the longest suffix of `host` in the table.
    #[must_use]
    pub fn longest(&self, host: &str) -> Option<V> {
        let mut best = None;
        self.visit(host, |_, value| best = Some(value));
        best
    }

    /// Gives back room that was kept for more.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// Returns every suffix with its value, in the order they were entered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, V)> {
        self.entries.iter().map(|entry| (self.text_of(entry), entry.value))
    }

    fn text_of(&self, entry: &Entry<V>) -> &str {
        let at = entry.at as usize;
        self.text.get(at..at + usize::from(entry.length)).unwrap_or_default()
    }

    fn probe(&self, hash: u64, suffix: &[u8]) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut slot = usize::try_from(hash).unwrap_or(0) & mask;
        loop {
            let place = (self.slots[slot] as usize).checked_sub(1)?;
            let entry = &self.entries[place];
            let at = entry.at as usize;
            if usize::from(entry.length) == suffix.len()
                && self.text.as_bytes().get(at..at + suffix.len()) == Some(suffix)
            {
                return Some(place);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn insert(&mut self, hash: u64, suffix: &str, value: V) -> usize {
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let place = self.entries.len();
        let at = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        let length = u16::try_from(suffix.len()).unwrap_or(u16::MAX);
        self.text.push_str(suffix);
        self.entries.push(Entry { at, length, value });
        fill(&mut self.slots, hash, place);
        place
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        for (place, entry) in self.entries.iter().enumerate() {
            fill(&mut slots, hash(self.text_of(entry)), place);
        }
        self.slots = slots;
    }
}

fn fill(slots: &mut [u32], hash: u64, place: usize) {
    let mask = slots.len() - 1;
    let mut slot = usize::try_from(hash).unwrap_or(0) & mask;
    while slots[slot] != 0 {
        slot = (slot + 1) & mask;
    }
    slots[slot] = u32::try_from(place + 1).unwrap_or(u32::MAX);
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes one more byte on the left. Suffixes come from a data file or from administrators, never from traffic, so nobody
/// can fill the table with names that share a hash.
const fn step(state: u64, byte: u8) -> u64 {
    (state.rotate_left(5) ^ byte as u64).wrapping_mul(0x517c_c1b7_2722_0a95)
}

const fn finish(state: u64) -> u64 {
    state ^ (state >> 29)
}

fn hash(suffix: &str) -> u64 {
    finish(suffix.bytes().rev().fold(SEED, step))
}

#[cfg(test)]
mod tests {
    use super::SuffixTable;

    fn found(table: &SuffixTable<u32>, host: &str) -> Vec<(usize, u32)> {
        let mut all = Vec::new();
        table.visit(host, |length, value| all.push((length, value)));
        all
    }

    #[test]
    fn every_suffix_on_a_label_border_is_found_from_the_right() {
        let mut table = SuffixTable::default();
        for (suffix, value) in [("com", 1), ("example.com", 2), ("a.example.com", 3)] {
            *table.entry(suffix, 0) = value;
        }
        assert_eq!(found(&table, "x.a.example.com"), [(3, 1), (11, 2), (13, 3)]);
        assert_eq!(found(&table, "example.com"), [(3, 1), (11, 2)]);
        assert_eq!(found(&table, "notexample.com"), [(3, 1)]);
        assert_eq!(table.longest("b.example.com"), Some(2));
        assert_eq!(table.longest("example.org"), None);
        for odd in ["", ".", "..", "com.", ".example.com."] {
            assert!(found(&table, odd).len() <= 1, "{odd}");
        }
        assert_eq!(table.longest(&"a.".repeat(200)), None, "longer than any host");
    }

    #[test]
    fn a_table_that_grew_still_knows_everything() {
        let mut table = SuffixTable::default();
        for number in 0..10_000_u32 {
            *table.entry(&format!("n{number}.test"), 0) = number;
        }
        table.shrink();
        assert_eq!(table.len(), 10_000);
        for number in [0, 1, 17, 9_999] {
            assert_eq!(table.longest(&format!("www.n{number}.test")), Some(number));
        }
        assert_eq!(table.iter().nth(3), Some(("n3.test", 3)));
    }
}
