//! Takes sealed segments of the journal over into the lake.
//!
//! Some segments of a dataset at once, in their order: their records become a file for each account and hour, and one
//! commit for each account makes them part of the table and names the last segment. A crash in between leaves files that
//! no commit names, and accounts that have the segment beside accounts that do not: the next attempt goes on with those.
//! Invariant: a segment leaves the journal only when every account of it has committed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use types::AccountId;
use uuid::Uuid;

use super::columns::{Columns, present_form};
use super::delta::Action;
use super::order::{Names, Records, SortKey};
use super::schema::Key;
use super::table::TableError;
use super::{Lake, file, schema};
use crate::error::QueryError;
use crate::frame::{self, Codec, Frame};
use crate::pace::Pace;
use crate::query;
use crate::records::Dataset;
use crate::segment::Segment;
use crate::wire::{Fields, Raw};

/// Why segments stay in the journal for the moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RollError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("a segment of the journal cannot be read")]
    Segment(#[source] QueryError),
}

/// An hour in microseconds.
const HOUR: i64 = 3_600_000_000;

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

/// A part of the journal in memory.
struct Block {
    segment: u64,
    bytes: Vec<u8>,
}

impl Lake {
    /// Takes segments over that follow each other and grow no more, at `pace`.
    pub(crate) async fn roll(
        &self,
        dataset: Dataset,
        segments: &[Segment],
        now: Timestamp,
        pace: &Pace<'_>,
    ) -> Result<(), RollError> {
        let Some(last) = segments.last() else { return Ok(()) };
        let damaged = Cell::new(0);
        let blocks = read(dataset, segments, &damaged)?;
        let (groups, names) = self.sort_out(dataset, &blocks, now, &damaged, pace).await?;
        let ranks = names.ranks();
        let mut added: BTreeMap<AccountId, Vec<Action>> = BTreeMap::new();
        for ((account, period), records) in groups {
            let table = self.table_to_write(account, dataset).await?;
            let sorted = stream::iter(records.sorted(dataset, &ranks, &damaged));
            let batches = sorted.then(async move |batch| {
                pace.give_way().await;
                Ok(batch?)
            });
            let written = file::write(&self.place, &table.root, dataset, period.0, file_name(period), batches).await?;
            added.entry(account).or_default().push(Action::Add(Arc::new(written)));
        }
        if damaged.get() > 0 {
            let damaged = damaged.get();
            tracing::warn!(%dataset, damaged, "records of the journal could not be read and are left out of the lake");
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

    /// Puts records where they belong, but for those that an account's table has.
    async fn sort_out<'a>(
        &self,
        dataset: Dataset,
        blocks: &'a [Block],
        now: Timestamp,
        damaged: &Cell<u64>,
        pace: &Pace<'_>,
    ) -> Result<(BTreeMap<(AccountId, Period), Records<'a>>, Names<'a>), RollError> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let (places, mut names) = (Places::of(dataset), Names::default());
        let mut groups: BTreeMap<(AccountId, Period), Records<'a>> = BTreeMap::new();
        let mut taken: BTreeMap<AccountId, u64> = BTreeMap::new();
        // Records that follow each other are mostly of one account and hour.
        let mut last: Option<(i64, Period)> = None;
        for block in blocks {
            pace.give_way().await;
            for (_, frame) in frame::frames(&block.bytes) {
                let Some(found) = places.look(frame.body) else {
                    damaged.set(damaged.get() + 1);
                    continue;
                };
                let taken = match taken.get(&found.account) {
                    Some(taken) => *taken,
                    None => {
                        let table = self.table_to_write(found.account, dataset).await?;
                        *taken.entry(found.account).or_insert(self.taken(&table))
                    }
                };
                if taken >= block.segment {
                    continue;
                }
                let hour = found.micros.div_euclid(HOUR);
                let period = match last {
                    Some((of, period)) if of == hour => period,
                    _ => period(found.micros, today),
                };
                last = Some((hour, period));
                let (person, application) = (names.number(found.person), names.number(found.application));
                let key = SortKey { person, application, time: found.micros };
                groups.entry((found.account, period)).or_default().add(key, frame);
            }
        }
        Ok((groups, names))
    }
}

/// Reads segments, in the journal's present form.
fn read(dataset: Dataset, segments: &[Segment], damaged: &Cell<u64>) -> Result<Vec<Block>, RollError> {
    let mut blocks = Vec::new();
    for segment in segments {
        let mut file: Option<File> = None;
        for block in segment.blocks.iter() {
            let Some(bytes) = query::read(segment, block, &mut file).map_err(RollError::Segment)? else { break };
            let bytes = match segment.codec {
                Codec::Fields => bytes,
                Codec::Json => rewritten(dataset, &bytes, damaged),
            };
            blocks.push(Block { segment: segment.number, bytes });
        }
    }
    Ok(blocks)
}

/// Returns records of a time when the journal held JSON in its present form.
fn rewritten(dataset: Dataset, bytes: &[u8], damaged: &Cell<u64>) -> Vec<u8> {
    let mut rewritten = Vec::with_capacity(bytes.len());
    for (_, frame) in frame::frames(bytes) {
        match present_form(dataset, frame.body) {
            Ok(body) => frame::encode(&mut rewritten, frame.id, frame.milliseconds, |out| out.extend(body)),
            Err(_) => damaged.set(damaged.get() + 1),
        }
    }
    rewritten
}

pub(crate) fn push(columns: &mut Columns, codec: Codec, frame: &Frame<'_>) -> Result<(), super::columns::Damaged> {
    match codec {
        Codec::Json => columns.push_json(frame.id, frame.body),
        Codec::Fields => columns.push(frame.id, frame.body),
    }
}

/// Where a record says whose it is, when it was, and what it is sorted by.
pub(crate) struct Places {
    account: usize,
    key: Key,
}

/// What is known of a record before it is taken apart.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    account: AccountId,
    /// In Unix microseconds.
    micros: i64,
    person: &'a [u8],
    application: &'a [u8],
}

impl Places {
    pub(crate) fn of(dataset: Dataset) -> Self {
        let account = dataset.fields().iter().position(|field| field.name == "AccountID").unwrap_or_default();
        Self { account, key: schema::key(dataset) }
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
            } else if place == self.key.time {
                micros = raw.time();
            }
            if let (Some(account), Some(micros)) = (account, micros) {
                return Some((account, micros));
            }
        }
        // A record without a time is one of the epoch.
        account.map(|account| (account, micros.unwrap_or_default()))
    }

    /// Returns what a record is sorted by, too; `None` for one without an account.
    fn look<'a>(&self, body: &'a [u8]) -> Option<Found<'a>> {
        let (mut account, mut micros) = (None, None);
        let (mut person, mut application): (Option<&[u8]>, Option<&[u8]>) = (None, None);
        for field in Fields::new(body) {
            let Some((place, raw)) = field else {
                // What of a damaged record comes before the damage is kept, if that says whose it is and when it was.
                micros?;
                break;
            };
            let text = || if let Raw::Bytes(text) = raw { Some(text) } else { None };
            if place == self.account {
                account = Some(str::from_utf8(text()?).ok()?.parse().ok()?);
            } else if place == self.key.time {
                micros = raw.time();
            } else if place == self.key.person {
                person = text();
            } else if place == self.key.application {
                application = text();
            }
            if account.is_some() && micros.is_some() && person.is_some() && application.is_some() {
                break;
            }
        }
        Some(Found {
            account: account?,
            micros: micros.unwrap_or_default(),
            person: person.unwrap_or_default(),
            application: application.unwrap_or_default(),
        })
    }
}
