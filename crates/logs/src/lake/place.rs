//! Where the lake lies: a directory, or the bucket of an object store, seen alike.
//!
//! Invariant: what [`Place::settle`] returned from survives a power cut.

use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use uuid::Uuid;

use crate::bucket::{Bucket, BucketError};

/// The folder of what is written to learn how a store behaves. It is no account's.
const TRIALS: &str = "_trials";

/// A store and the place of the lake within it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub store: Arc<dyn ObjectStore>,
    /// The directory, when it is one.
    directory: Option<PathBuf>,
}

impl Place {
    /// Opens a directory, creating it when it is not there.
    pub(crate) fn local(directory: &FilePath) -> Result<Self, object_store::Error> {
        let failed = |source: std::io::Error| object_store::Error::Generic { store: "lake", source: source.into() };
        crate::create_private(directory).map_err(failed)?;
        let directory = std::fs::canonicalize(directory).map_err(failed)?;
        let store = LocalFileSystem::new_with_prefix(&directory)?.with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), directory: Some(directory) })
    }

    /// Takes a bucket; nothing is sent yet.
    pub(crate) fn bucket(bucket: &Bucket) -> Result<Self, BucketError> {
        Ok(Self { store: bucket.connect()?, directory: None })
    }

    /// Says whether other nodes may write here, too.
    pub(crate) const fn shared(&self) -> bool {
        self.directory.is_none()
    }

    /// Finds out whether the store refuses to write an object twice, without which two nodes would overwrite each other's
    /// commits. Of a directory it is known.
    pub(crate) async fn prove(&self) -> Result<(), object_store::Error> {
        if !self.shared() {
            return Ok(());
        }
        let trial = Path::from(format!("{TRIALS}/{}", Uuid::now_v7().simple()));
        let first = self.create(&trial, b"first".to_vec()).await?;
        let second = self.create(&trial, b"second".to_vec()).await;
        let left = self.get(&trial).await;
        self.delete(&trial).await?;
        let overwritten = left?.is_none_or(|left| left.as_ref() != b"first");
        if !first || second? || overwritten {
            return Err(object_store::Error::NotSupported {
                source: "the store does not honour If-None-Match: * when an object is written, so two nodes could overwrite each \
                         other's records; use a store that does (Amazon S3, MinIO, Cloudflare R2, Ceph and others do)"
                    .into(),
            });
        }
        Ok(())
    }

    /// Makes what was written durable. Object stores have done so when they answer.
    pub(crate) fn settle(&self, paths: &[Path]) -> std::io::Result<()> {
        let Some(root) = &self.directory else { return Ok(()) };
        for path in paths {
            let file = root.join(path.as_ref());
            std::fs::File::open(&file)?.sync_all()?;
            let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
            for folder in folders {
                std::fs::File::open(folder)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Writes an object unless it exists; says whether it did so.
    pub(crate) async fn create(&self, path: &Path, bytes: Vec<u8>) -> Result<bool, object_store::Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), object_store::Error> {
        self.store.put(path, PutPayload::from(bytes)).await.map(drop)
    }

    /// Reads an object; `None` when there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, object_store::Error> {
        match self.store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the end of an object, at most some bytes of it; returns its whole size, too. `None` when there is none.
    pub(crate) async fn end(&self, path: &Path, most: u64) -> Result<Option<(Bytes, u64)>, object_store::Error> {
        let options = GetOptions { range: Some(GetRange::Suffix(most)), ..GetOptions::default() };
        match self.store.get_opts(path, options).await {
            Ok(found) => {
                let size = found.meta.size;
                Ok(Some((found.bytes().await?, size)))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads parts of an object; `None` when there is none.
    pub(crate) async fn ranges(
        &self,
        path: &Path,
        ranges: &[Range<u64>],
    ) -> Result<Option<Vec<Bytes>>, object_store::Error> {
        match self.store.get_ranges(path, ranges).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object, if it is there.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), object_store::Error> {
        match self.store.delete(path).await {
            Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Deletes what a writer that was cut off left in a directory: half files, and whole ones that are not `named`. Of a
    /// directory there is one writer, so what is not named now will not be; of a bucket there may be many, whose
    /// leftovers go by their age.
    pub(crate) fn delete_leftovers(&self, below: &Path, named: impl Fn(&str) -> bool) -> std::io::Result<()> {
        let Some(root) = &self.directory else { return Ok(()) };
        let table = root.join(below.as_ref());
        let days = match std::fs::read_dir(&table) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            days => days?,
        };
        for day in days {
            let day = day?.path();
            if !day.file_name().is_some_and(|name| name.to_string_lossy().starts_with(super::schema::DATE)) {
                continue;
            }
            for file in std::fs::read_dir(&day)? {
                let file = file?.path();
                let path = file.strip_prefix(&table).unwrap_or(&file).to_string_lossy().into_owned();
                if path.contains(".parquet") && !named(&path) {
                    std::fs::remove_file(&file)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the folders right below one.
    pub(crate) async fn folders(&self, below: Option<&Path>) -> Result<Vec<Path>, object_store::Error> {
        Ok(self.store.list_with_delimiter(below).await?.common_prefixes)
    }

    /// Returns the objects anywhere below a folder.
    pub(crate) async fn objects(&self, below: &Path) -> Result<Vec<object_store::ObjectMeta>, object_store::Error> {
        self.store.list(Some(below)).try_collect().await
    }
}
