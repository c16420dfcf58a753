//! Takes sealed segments of the journal over into the lake.
//!
//! Some segments of a dataset at once, in their order: their records become a file for each account and hour, and one
//! commit for each account makes them part of the table and names the last segment. A crash in between leaves files that
//! no commit names, and accounts that have the segment beside accounts that do not: the next attempt goes on with those.
//! Invariant: a segment leaves the journal only when every account of it has committed.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use types::AccountId;
use uuid::Uuid;

use super::columns::Columns;
use super::delta::Action;
use super::table::TableError;
use super::{Lake, file, schema};
use crate::error::QueryError;
use crate::frame::{self, Codec, Frame};
use crate::query;
use crate::records::Dataset;
use crate::segment::Segment;
use crate::wire::Fields;

/// Why segments stay in the journal for the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RollError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("a segment of the journal cannot be read")]
    Segment(#[source] QueryError),
}

/// A day and an hour of it, in UTC; without the hour, the whole day.
pub(crate) type Period = (Date, Option<i8>);

/// Returns the period of the file that a record goes into: an hour of the present day, and days that are over whole.
pub(crate) fn period(micros: i64, today: Date) -> Period {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default().to_zoned(TimeZone::UTC);
    (time.date(), (time.date() >= today).then(|| time.hour()))
}

/// Names a new file of a period.
pub(crate) fn file_name((date, hour): Period) -> String {
    let hour = hour.map_or_else(|| "day".to_owned(), |hour| format!("{hour:02}"));
    format!("{}={date}/{hour}-{}.parquet", schema::DATE, Uuid::now_v7().simple())
}

impl Lake {
    /// Takes segments over that follow each other and grow no more.
    pub(crate) async fn roll(&self, dataset: Dataset, segments: &[Segment], now: Timestamp) -> Result<(), RollError> {
        let Some(last) = segments.last() else { return Ok(()) };
        let mut groups: BTreeMap<(AccountId, Period), Columns> = BTreeMap::new();
        let today = now.to_zoned(TimeZone::UTC).date();
        let mut damaged = 0;
        for segment in segments {
            damaged += self.sort_out(dataset, segment, today, &mut groups).await?;
        }
        if damaged > 0 {
            tracing::warn!(%dataset, damaged, "records of the journal could not be read and are left out of the lake");
        }
        let mut added: BTreeMap<AccountId, Vec<Action>> = BTreeMap::new();
        for ((account, period), mut columns) in groups {
            let table = self.table_to_write(account, dataset).await?;
            let batch = columns.finish().map_err(TableError::Columns)?;
            drop(columns);
            let sorted = file::sorted(&batch, dataset).map(|batch| Ok(batch?));
            let batches = futures_util::stream::iter(sorted);
            let written = file::write(&self.place, &table.root, dataset, period.0, file_name(period), batches).await?;
            added.entry(account).or_default().push(Action::Add(Arc::new(written)));
        }
        for (account, mut actions) in added {
            let table = self.table_to_write(account, dataset).await?;
            actions.push(Action::Taken { node: self.node.clone(), segment: last.number });
            let decide = |state: &super::delta::State| {
                let taken = state.taken.get(&self.node).copied().unwrap_or_default();
                (taken < last.number).then(|| actions.clone())
            };
            table.commit(decide, false, now).await?;
        }
        Ok(())
    }

    /// Puts the records of a segment where they belong; returns how many are damaged.
    async fn sort_out(
        &self,
        dataset: Dataset,
        segment: &Segment,
        today: Date,
        groups: &mut BTreeMap<(AccountId, Period), Columns>,
    ) -> Result<u64, RollError> {
        let places = Places::of(dataset);
        let mut taken: BTreeMap<AccountId, u64> = BTreeMap::new();
        let mut damaged = 0;
        let mut file: Option<File> = None;
        for block in segment.blocks.iter() {
            let Some(bytes) = query::read(segment, block, &mut file).map_err(RollError::Segment)? else { break };
            for (_, frame) in frame::frames(&bytes) {
                let Some((account, micros)) = places.find(dataset, segment.codec, &frame) else {
                    damaged += 1;
                    continue;
                };
                let taken = match taken.get(&account) {
                    Some(taken) => *taken,
                    None => {
                        let table = self.table_to_write(account, dataset).await?;
                        *taken.entry(account).or_insert(self.taken(&table))
                    }
                };
                if taken >= segment.number {
                    continue;
                }
                let columns = groups.entry((account, period(micros, today))).or_insert_with(|| Columns::new(dataset));
                if push(columns, segment.codec, &frame).is_err() {
                    damaged += 1;
                }
            }
        }
        Ok(damaged)
    }
}

pub(crate) fn push(columns: &mut Columns, codec: Codec, frame: &Frame<'_>) -> Result<(), super::columns::Damaged> {
    match codec {
        Codec::Json => columns.push_json(frame.id, frame.body),
        Codec::Fields => columns.push(frame.id, frame.body),
    }
}

/// Where a record says whose it is and when it was.
pub(crate) struct Places {
    account: usize,
    time: usize,
}

impl Places {
    pub(crate) fn of(dataset: Dataset) -> Self {
        let account = dataset.fields().iter().position(|field| field.name == "AccountID").unwrap_or_default();
        Self { account, time: schema::key(dataset).time }
    }

    /// Returns the account and the time, in Unix microseconds.
    pub(crate) fn find(&self, dataset: Dataset, codec: Codec, frame: &Frame<'_>) -> Option<(AccountId, i64)> {
        if codec == Codec::Json {
            let fields = query::fields(dataset, codec, frame)?;
            let account = fields.get("AccountID")?.as_str()?.parse().ok()?;
            return Some((account, frame.milliseconds.checked_mul(1_000)?));
        }
        let (mut account, mut micros) = (None, None);
        for field in Fields::new(frame.body) {
            let (place, raw) = field?;
            if place == self.account {
                account = raw.text()?.parse().ok();
            } else if place == self.time {
                micros = raw.time();
            }
            if let (Some(account), Some(micros)) = (account, micros) {
                return Some((account, micros));
            }
        }
        // A record without a time is one of the epoch.
        account.map(|account| (account, micros.unwrap_or_default()))
    }
}
