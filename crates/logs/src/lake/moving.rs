//! Moves a lake from its directory into a bucket, while nothing else has the journal open.
//!
//! Table by table: the files first, which nobody sees yet; then one commit that makes them part of the bucket's table, where
//! other nodes may have records already; then the table in the directory goes. A commit also names the table it came from,
//! so that a move that was cut off and goes on does nothing twice. Invariant: each record is found in the bucket or still is
//! in the directory, and the directory is not taken for the lake in between.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, WriteMultipart};

use super::delta::{Action, DataFile, State};
use super::place::Place;
use super::table::{Table, TableError};
use super::{Lake, home, rollup};
use crate::bucket::Bucket;
use crate::error::{MoveError, OpenError};

/// How many files are copied at once.
const AT_ONCE: usize = 4;
/// How large a file is that is sent whole, in bytes.
const WHOLE: u64 = 8 * 1024 * 1024;
/// How many parts of a file are sent at once.
const PARTS: usize = 2;

/// How far a move is, or what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many tables are in the bucket.
    pub tables: u64,
    /// How many files.
    pub files: u64,
    /// How many bytes of records.
    pub bytes: u64,
    /// How many records.
    pub rows: u64,
}

/// Moves the lake of a journal, which nobody has open, into a bucket; tells how far it is after each table.
pub(crate) async fn run(
    directory: &FilePath,
    bucket: &Bucket,
    node: String,
    now: Timestamp,
    mut tell: impl FnMut(Moved),
) -> Result<Moved, MoveError> {
    home::agree(directory, Some(bucket))?;
    let local = home::local(directory);
    let failed = |source| OpenError::File { path: local.clone(), source };
    let source = Place::local(&local).map_err(|error| failed(std::io::Error::other(error)))?;
    let source = Lake::load(source, node.clone()).await.map_err(stuck)?;
    let target = Lake::load(Place::bucket(bucket).map_err(OpenError::Bucket)?, node).await.map_err(stuck)?;
    // From here on a start without the bucket would find half of the records.
    home::claim(directory, bucket)?;
    let mut moved = Moved::default();
    for table in source.tables() {
        let into = target.table_to_write(table.account, table.dataset).await.map_err(stuck)?;
        move_table(&source.place, &target.place, &table, &into, now).await.map_err(stuck)?;
        for file in table.state().files.values() {
            moved.files += 1;
            moved.bytes += file.bytes;
            moved.rows += file.rows;
        }
        moved.tables += 1;
        let folder = local.join(table.root.as_ref());
        std::fs::remove_dir_all(&folder).map_err(|source| OpenError::File { path: folder, source })?;
        tell(moved);
    }
    Ok(moved)
}

fn stuck(error: TableError) -> MoveError {
    MoveError::Lake(crate::keeper::chain(&error))
}

async fn move_table(
    source: &Place,
    target: &Place,
    from: &Table,
    into: &Table,
    now: Timestamp,
) -> Result<(), TableError> {
    let state = from.state();
    // What a table is known by; an application id of the Delta protocol, as a node's is.
    let token = format!("moved-{}", state.id);
    if state.id.is_empty() || into.state().taken.contains_key(&token) {
        return Ok(());
    }
    let there = into.state();
    let missing: Vec<&Arc<DataFile>> =
        state.files.values().filter(|file| !there.files.contains_key(&file.path)).collect();
    let copied = AtomicU64::new(0);
    let copying = missing.into_iter().map(|file| {
        let copied = &copied;
        async move {
            copy(source, target, &from.path(&file.path), Some(file.bytes)).await?;
            copy(source, target, &rollup::beside(&from.root, &file.path), None).await?;
            copied.fetch_add(1, Ordering::Relaxed);
            Ok::<_, TableError>(())
        }
    });
    stream::iter(copying).buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await?;
    let decide = |there: &State| {
        if there.taken.contains_key(&token) {
            return None;
        }
        let added = state.files.values().filter(|file| !there.files.contains_key(&file.path));
        let mut actions: Vec<_> = added.map(|file| Action::Add(Arc::clone(file))).collect();
        for (node, segment) in &state.taken {
            if there.taken.get(node).is_none_or(|known| known < segment) {
                actions.push(Action::Taken { node: node.clone(), segment: *segment });
            }
        }
        actions.push(Action::Taken { node: token.clone(), segment: 1 });
        Some(actions)
    };
    into.commit(decide, false, now).await?;
    tracing::info!(table = %from.root, files = copied.load(Ordering::Relaxed), "a table is in the bucket");
    Ok(())
}

/// Copies an object, unless it is there already; one without a known size may be missing.
async fn copy(source: &Place, target: &Place, path: &Path, bytes: Option<u64>) -> Result<(), TableError> {
    match target.store.head(path).await {
        Ok(there) if bytes == Some(there.size) => return Ok(()),
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let found = match source.store.get(path).await {
        Err(object_store::Error::NotFound { .. }) if bytes.is_none() => return Ok(()),
        found => found?,
    };
    if found.meta.size <= WHOLE {
        return Ok(target.put(path, found.bytes().await?.into()).await?);
    }
    let mut chunks = found.into_stream();
    let mut upload = WriteMultipart::new(target.store.put_multipart(path).await?);
    while let Some(chunk) = chunks.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                upload.abort().await?;
                return Err(error.into());
            }
        };
        upload.wait_for_capacity(PARTS).await?;
        upload.put(chunk);
    }
    upload.finish().await?;
    Ok(())
}
