//! Where the lake lies: a directory, or the bucket of an object store, seen alike.
//!
//! Invariant: what [`Place::settle`] returned from survives a power cut.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

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
