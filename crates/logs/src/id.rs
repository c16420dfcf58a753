//! Ids of records: ordered by time, and cheap to keep a billion of.
//!
//! UUIDs of version 7 (RFC 9562, section 5.7): milliseconds, then 12 bits of the millisecond's fraction (section 6.2, method
//! 3), then 62 bits that tell threads apart, random once for each. Random bits in each id would be a fourth of the lake.
//! Such an id is no secret. Invariant: ids of a thread are unique and ascending, whatever the clock does.

use std::cell::Cell;

use uuid::Uuid;

/// Returns a new id.
#[must_use]
pub fn record_id() -> Uuid {
    thread_local! {
        /// The last id's time: milliseconds and the fraction in 4,096ths.
        static LAST: Cell<u64> = const { Cell::new(0) };
        /// The last 62 bits of this thread's ids.
        static THREAD: u64 = Uuid::new_v4().as_u64_pair().1 >> 2;
    }
    let nanoseconds = u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default();
    let time = ((nanoseconds / 1_000_000) << 12) | ((nanoseconds % 1_000_000) * 4_096 / 1_000_000);
    let time = LAST.with(|last| {
        let time = time.max(last.get() + 1);
        last.set(time);
        time
    });
    made_of(time, THREAD.with(|thread| *thread))
}

const fn made_of(time: u64, thread: u64) -> Uuid {
    const VERSION: u64 = 0x7 << 12;
    const VARIANT: u64 = 0b10 << 62;
    Uuid::from_u64_pair(((time >> 12) << 16) | VERSION | (time & 0xfff), VARIANT | (thread & (u64::MAX >> 2)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{made_of, record_id};

    #[test]
    fn ids_ascend_are_of_version_seven_and_carry_their_time() {
        let ids: Vec<_> = (0..100_000).map(|_| record_id()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert_eq!(ids[0].get_version_num(), 7);
        let (seconds, _) = ids[0].get_timestamp().unwrap().to_unix();
        assert!(seconds.abs_diff(jiff::Timestamp::now().as_second().unsigned_abs()) <= 5);
        assert_eq!(made_of(u64::MAX >> 4, u64::MAX).get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn threads_make_different_ids() {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| (0..1_000).map(|_| record_id()).collect())).collect();
        let ids: Vec<Vec<_>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.into_iter().flatten().collect::<BTreeSet<_>>().len(), 4_000);
    }
}
