//! Puts records of the journal into the order of a file, before they become columns.
//!
//! What is sorted is where they lie. So each is taken apart once, into the columns of the few thousand that are written with
//! it, which stay in the processor's caches. Invariant: every record that was added comes out once, by person, application
//! and time; those of one moment as they came.

use std::cell::Cell;
use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use foldhash::fast::RandomState;

use super::columns::Columns;
use crate::frame::Frame;
use crate::records::Dataset;

/// How many rows are handed to a file's writer at once.
const BATCH: usize = 8 * 1024;

/// Texts that records are sorted by, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    numbers: HashMap<&'a [u8], u32, RandomState>,
    texts: Vec<&'a [u8]>,
    last: u32,
}

impl<'a> Names<'a> {
    pub(crate) fn number(&mut self, text: &'a [u8]) -> u32 {
        if self.texts.get(self.last as usize) != Some(&text) {
            self.last = *self.numbers.entry(text).or_insert_with(|| {
                self.texts.push(text);
                u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX)
            });
        }
        self.last
    }

    /// Returns the place of each number's text among all of them, so that sorting compares numbers.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..u32::try_from(self.texts.len()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by_key(|number| self.texts[*number as usize]);
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0..).zip(order) {
            ranks[number as usize] = rank;
        }
        ranks
    }
}

/// What a record is sorted by: the numbers of its person and application, its time in Unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SortKey {
    pub person: u32,
    pub application: u32,
    pub time: i64,
}

/// The records of one file to be.
#[derive(Debug, Default)]
pub(crate) struct Records<'a> {
    keys: Vec<(SortKey, u32)>,
    frames: Vec<Frame<'a>>,
}

impl<'a> Records<'a> {
    pub(crate) fn add(&mut self, key: SortKey, frame: Frame<'a>) {
        self.keys.push((key, u32::try_from(self.frames.len()).unwrap_or(u32::MAX)));
        self.frames.push(frame);
    }

    /// Returns them as columns, some at a time, given the ranks of the names they are sorted by. Counts those that are
    /// damaged, of which what can be read is there.
    pub(crate) fn sorted(
        mut self,
        dataset: Dataset,
        ranks: &[u32],
        damaged: &Cell<u64>,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let rank = |number: u32| ranks.get(number as usize).copied().unwrap_or(u32::MAX);
        for (key, _) in &mut self.keys {
            *key = SortKey { person: rank(key.person), application: rank(key.application), ..*key };
        }
        self.keys.sort_unstable();
        let (mut columns, mut rest) = (Columns::new(dataset), self.keys.into_iter());
        std::iter::from_fn(move || {
            let mut rows = 0;
            for (_, place) in rest.by_ref().take(BATCH) {
                let frame = &self.frames[place as usize];
                if columns.push(frame.id, frame.body).is_err() {
                    damaged.set(damaged.get() + 1);
                }
                rows += 1;
            }
            (rows > 0).then(|| columns.finish())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use arrow::array::AsArray as _;
    use arrow::datatypes::TimestampMicrosecondType;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{Names, Records, SortKey};
    use crate::AsRecord as _;
    use crate::frame::Frame;
    use crate::lake::schema;
    use crate::records::{Dataset, GatewayHttp};

    proptest! {
        #[test]
        fn every_record_comes_out_once_and_in_order(
            of in proptest::collection::vec((0_u8..5, 0_u8..5, 0_i64..6), 0..60),
        ) {
            let dataset = Dataset::GatewayHttp;
            let bodies: Vec<(String, String, i64, Vec<u8>)> = of.iter().map(|(person, application, time)| {
                let (email, host) = (format!("p{person}@example.com"), format!("h{application}.example"));
                let datetime = jiff::Timestamp::from_microsecond(*time + 1).unwrap();
                let mut record = GatewayHttp { email: email.clone(), http_host: host.clone(), datetime, ..GatewayHttp::default() };
                let mut body = Vec::new();
                record.as_record().encode(&mut body);
                (email, host, *time + 1, body)
            }).collect();
            let (mut names, mut records) = (Names::default(), Records::default());
            for (number, (email, host, time, body)) in bodies.iter().enumerate() {
                let (person, application) = (names.number(email.as_bytes()), names.number(host.as_bytes()));
                let frame = Frame { id: Uuid::from_u128(number as u128), milliseconds: 0, body };
                records.add(SortKey { person, application, time: *time }, frame);
            }
            let damaged = Cell::new(0);
            let key = schema::key(dataset);
            let mut found = Vec::new();
            for batch in records.sorted(dataset, &names.ranks(), &damaged) {
                let batch = batch.unwrap();
                let texts = |place: usize| batch.column(place).as_string::<i32>().clone();
                let (ids, people, hosts) = (texts(0), texts(key.person), texts(key.application));
                let times = batch.column(key.time).as_primitive::<TimestampMicrosecondType>();
                for row in 0..batch.num_rows() {
                    let id: Uuid = ids.value(row).parse().unwrap();
                    found.push((people.value(row).to_owned(), hosts.value(row).to_owned(), times.value(row), id.as_u128()));
                }
            }
            let numbered = bodies.into_iter().zip(0_u128..);
            let mut expected: Vec<_> = numbered.map(|((email, host, time, _), number)| (email, host, time, number)).collect();
            expected.sort();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(damaged.get(), 0);
        }
    }
}
