//! Compiled membership: byte strings by hash, numbers and addresses by sorted ranges.
//! Decides nothing about types or missing values. Lookups allocate nothing; IPv4-mapped IPv6 addresses count as IPv4.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

/// A hash that is fast on short keys. The members come from whoever writes the policy, never from traffic, so a
/// request cannot make the set degenerate.
#[derive(Clone, Copy)]
pub(crate) struct ShortKeyHasher(u64);

impl Default for ShortKeyHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for ShortKeyHasher {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3_9e37);
            self.0 ^= self.0 >> 31;
        }
    }
}

/// The most members that are looked through in turn, which is sooner done than hashing.
const FEW: usize = 8;

/// A set of byte strings.
#[derive(Clone, Debug)]
pub(crate) enum BytesSet {
    Few(Box<[Box<[u8]>]>),
    Many(HashSet<Box<[u8]>, BuildHasherDefault<ShortKeyHasher>>),
}

impl BytesSet {
    pub(crate) fn contains(&self, value: &[u8]) -> bool {
        match self {
            Self::Few(items) => items.iter().any(|item| **item == *value),
            Self::Many(items) => items.contains(value),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(items) => items.len(),
            Self::Many(items) => items.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let (few, many) = match self {
            Self::Few(items) => (Some(items), None),
            Self::Many(items) => (None, Some(items)),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten()).map(|item| &**item)
    }
}

impl FromIterator<Vec<u8>> for BytesSet {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(items: I) -> Self {
        let items: HashSet<Box<[u8]>, _> = items.into_iter().map(Vec::into_boxed_slice).collect();
        if items.len() > FEW {
            return Self::Many(items);
        }
        let mut few: Vec<Box<[u8]>> = items.into_iter().collect();
        few.sort_unstable();
        Self::Few(few.into_boxed_slice())
    }
}

/// A set of inclusive ranges, sorted and merged.
#[derive(Clone, Debug)]
pub(crate) struct RangeSet<T>(Box<[(T, T)]>);

impl<T> Default for RangeSet<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T: Ord + Copy> RangeSet<T> {
    pub(crate) fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1 => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into_boxed_slice())
    }

    pub(crate) fn contains(&self, value: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= value);
        after.checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|(_, last)| value <= *last)
    }

    pub(crate) fn ranges(&self) -> &[(T, T)] {
        &self.0
    }
}

/// A set of addresses of both families.
#[derive(Clone, Debug, Default)]
pub(crate) struct IpSet {
    v4: RangeSet<u32>,
    v6: RangeSet<u128>,
}

impl IpSet {
    /// Builds the set from inclusive ranges; a range whose ends are of different families holds nothing.
    pub(crate) fn new(ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (first, last) in ranges {
            match (first, last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    v6.push((first.to_bits(), last.to_bits()));
                    v4.extend(mapped(first.to_bits(), last.to_bits()));
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
            }
        }
        Self { v4: RangeSet::new(v4), v6: RangeSet::new(v6) }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.v4.ranges().len() + self.v6.ranges().len()
    }
}

/// Returns the IPv4 addresses that an IPv6 range names in their mapped form `::ffff:0:0/96`.
fn mapped(first: u128, last: u128) -> Option<(u32, u32)> {
    const LOW: u128 = 0xffff_0000_0000;
    const HIGH: u128 = 0xffff_ffff_ffff;
    let (first, last) = (first.max(LOW), last.min(HIGH));
    (first <= last).then(|| (low_bits(first), low_bits(last)))
}

fn low_bits(address: u128) -> u32 {
    let [.., a, b, c, d] = address.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_and_answer_at_their_edges() {
        let set = RangeSet::new(vec![(10i64, 20), (15, 30), (40, 40), (9, 1)]);
        assert_eq!(set.ranges(), [(10, 30), (40, 40)]);
        for (value, inside) in [(9, false), (10, true), (30, true), (31, false), (40, true), (41, false)] {
            assert_eq!(set.contains(value), inside, "{value}");
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let v4 = IpSet::new([(parse("10.0.0.0"), parse("10.0.0.255"))]);
        assert!(v4.contains(parse("::ffff:10.0.0.7")));
        let v6 = IpSet::new([(parse("::ffff:10.0.0.0"), parse("::ffff:10.0.0.255"))]);
        assert!(v6.contains(parse("10.0.0.7")));
        assert!(!v6.contains(parse("10.0.1.7")));
    }

    #[test]
    fn byte_sets_hold_keys_of_every_length() {
        for size in [0, 1, FEW, FEW + 1, 100] {
            let keys: Vec<Vec<u8>> = (0..size).map(|n| vec![b'x'; n]).collect();
            let set: BytesSet = keys.iter().chain(&keys).cloned().collect();
            assert!(keys.iter().all(|key| set.contains(key)));
            assert!(!set.contains(&vec![b'x'; size]));
            assert_eq!((set.len(), set.iter().count()), (size, size));
        }
    }
}
