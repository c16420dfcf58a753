//! What there is of one dataset of one account at one moment, in the journal and in the lake.
//!
//! Taken in an order that makes it exact: first the journal, then the table, which says how far the journal is in it.
//! Invariant: every record accepted and written before the moment is in it once.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use types::AccountId;

use super::Lake;
use super::columns::Columns;
use super::delta::State;
use super::roll::{Places, push};
use super::table::TableError;
use crate::error::QueryError;
use crate::frame;
use crate::records::Dataset;
use crate::segment::{Segment, read_block};
use crate::writer::Shelf;

/// How often a snapshot is tried again when segments leave the journal while it is taken.
const TRIES: usize = 16;
/// How many rows of the journal are handed over at once.
const BATCH: usize = 8 * 1024;

/// The journal's part and the lake's.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub account: AccountId,
    pub dataset: Dataset,
    /// Segments that are not in the table, each opened, so that nothing takes them away.
    pub segments: Vec<(Segment, File)>,
    /// The table.
    pub state: Arc<State>,
}

impl Snapshot {
    pub(crate) fn take(lake: &Lake, shelf: &Shelf, account: AccountId, dataset: Dataset) -> Result<Self, QueryError> {
        for _ in 0..TRIES {
            let segments = shelf.lock().clone();
            let state = lake.table(account, dataset).map(|table| table.state()).unwrap_or_default();
            let taken = state.taken.get(&lake.node).copied().unwrap_or_default();
            let opened: io::Result<Vec<_>> = segments
                .into_iter()
                .filter(|segment| segment.number > taken)
                .map(|segment| File::open(&segment.path).map(|file| (segment, file)))
                .collect();
            match opened {
                Ok(segments) => return Ok(Self { account, dataset, segments, state }),
                // It was taken over, or too old, in this very moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(QueryError::Read(error)),
            }
        }
        Err(QueryError::Busy)
    }

    /// Hands over the journal's part in columns, some rows at a time.
    pub(crate) fn journal(
        &self,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let places = Places::of(self.dataset);
        let (mut columns, mut rows) = (Columns::new(self.dataset), 0);
        let mut finish = |columns: &mut Columns| {
            each(columns.finish().map_err(|error| QueryError::Lake(Box::new(TableError::Columns(error))))?)
        };
        for (segment, file) in &self.segments {
            for block in segment.blocks.iter() {
                let bytes = read_block(file, block).map_err(QueryError::Read)?;
                for (_, frame) in frame::frames(&bytes) {
                    let own = places.find(self.dataset, segment.codec, &frame);
                    if own.is_some_and(|(owner, _)| owner == self.account) {
                        // What is damaged is reported when it is taken over.
                        let _ = push(&mut columns, segment.codec, &frame);
                        rows += 1;
                    }
                    if rows >= BATCH {
                        finish(&mut columns)?;
                        rows = 0;
                    }
                }
            }
        }
        if rows > 0 { finish(&mut columns) } else { Ok(()) }
    }
}
