//! A bucket as the object store that the lake and DataFusion know.
//!
//! The client is of a later version of `object_store` than theirs, since its predecessors bring a second cryptography
//! provider; both speak the same of the same things. Invariant: what is asked for arrives whole; what cannot be passed on
//! is refused.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use s3::ObjectStore as _;
use s3::aws::AmazonS3;
use s3::prefix::PrefixStore;
use tokio::runtime::{Handle, Runtime};

use super::trouble::Whereabouts;

/// The threads that requests run on.
#[derive(Debug)]
pub(crate) struct Requests(Option<Runtime>, Handle);

impl Requests {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("logs-bucket")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    pub(crate) fn handle(&self) -> Handle {
        self.1.clone()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        // It may be dropped by a task, which must not wait for it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Remote {
    store: PrefixStore<AmazonS3>,
    whereabouts: Arc<Whereabouts>,
    _requests: Requests,
}

impl Remote {
    pub(crate) fn new(store: AmazonS3, prefix: s3::path::Path, whereabouts: Whereabouts, requests: Requests) -> Self {
        Self { store: PrefixStore::new(store, prefix), whereabouts: Arc::new(whereabouts), _requests: requests }
    }

    fn failed(&self, error: s3::Error) -> object_store::Error {
        self.whereabouts.translate(error)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {}", self.whereabouts.name)
    }
}

fn there(path: &Path) -> Result<s3::path::Path> {
    s3::path::Path::parse(path.as_ref()).map_err(|_| refused("such a name"))
}

fn here(path: &s3::path::Path) -> Result<Path> {
    Ok(Path::parse(path.as_ref())?)
}

fn refused(what: &'static str) -> object_store::Error {
    object_store::Error::NotImplemented { operation: what.to_owned(), implementer: "bucket".to_owned() }
}

fn payload(payload: PutPayload) -> s3::PutPayload {
    payload.into_iter().collect()
}

fn written(result: s3::PutResult) -> PutResult {
    PutResult { e_tag: result.e_tag, version: result.version }
}

fn meta(meta: s3::ObjectMeta) -> Result<ObjectMeta> {
    let s3::ObjectMeta { location, last_modified, size, e_tag, version } = meta;
    Ok(ObjectMeta { location: here(&location)?, last_modified, size, e_tag, version })
}

fn wanted(options: GetOptions) -> s3::GetOptions {
    let GetOptions {
        if_match,
        if_none_match,
        if_modified_since,
        if_unmodified_since,
        range,
        version,
        head,
        extensions,
    } = options;
    let range = range.map(|range| match range {
        GetRange::Bounded(range) => s3::GetRange::Bounded(range),
        GetRange::Offset(offset) => s3::GetRange::Offset(offset),
        GetRange::Suffix(length) => s3::GetRange::Suffix(length),
    });
    s3::GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, head, extensions }
}

/// What an upload says of an object beside its bytes: nothing of ours does.
fn plain(tags: &object_store::TagSet, attributes: &object_store::Attributes) -> Result<()> {
    if tags.encoded().is_empty() && attributes.is_empty() { Ok(()) } else { Err(refused("tags and attributes")) }
}

#[async_trait]
impl ObjectStore for Remote {
    async fn put_opts(&self, location: &Path, bytes: PutPayload, options: PutOptions) -> Result<PutResult> {
        let PutOptions { mode, tags, attributes, extensions } = options;
        plain(&tags, &attributes)?;
        let mode = match mode {
            PutMode::Overwrite => s3::PutMode::Overwrite,
            PutMode::Create => s3::PutMode::Create,
            PutMode::Update(version) => {
                s3::PutMode::Update(s3::UpdateVersion { e_tag: version.e_tag, version: version.version })
            }
        };
        let options = s3::PutOptions { mode, extensions, ..s3::PutOptions::default() };
        let put = self.store.put_opts(&there(location)?, payload(bytes), options).await;
        put.map(written).map_err(|error| self.failed(error))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let PutMultipartOptions { tags, attributes, extensions } = options;
        plain(&tags, &attributes)?;
        let options = s3::PutMultipartOptions { extensions, ..s3::PutMultipartOptions::default() };
        let upload = self.store.put_multipart_opts(&there(location)?, options).await;
        let upload = upload.map_err(|error| self.failed(error))?;
        Ok(Box::new(Upload { upload, whereabouts: Arc::clone(&self.whereabouts) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.store.get_opts(&there(location)?, wanted(options)).await.map_err(|error| self.failed(error))?;
        let (object, range) = (meta(got.meta.clone())?, got.range.clone());
        let whereabouts = Arc::clone(&self.whereabouts);
        let bytes = got.into_stream().map_err(move |error| whereabouts.translate(error)).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(bytes),
            meta: object,
            range,
            attributes: object_store::Attributes::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(&there(location)?, ranges).await.map_err(|error| self.failed(error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // Those that cannot be translated are told of in the place of those that are deleted.
        let (store, whereabouts) = (self.store.clone(), Arc::clone(&self.whereabouts));
        let deleted = locations.then(move |location| {
            let (store, whereabouts) = (store.clone(), Arc::clone(&whereabouts));
            async move {
                let location = location?;
                let one = futures_util::stream::iter([Ok(there(&location)?)]).boxed();
                let deleted: std::result::Result<Vec<_>, _> = store.delete_stream(one).try_collect().await;
                deleted.map(|_| location).map_err(|error| whereabouts.translate(error))
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = match prefix.map(there).transpose() {
            Ok(prefix) => prefix,
            Err(error) => return futures_util::stream::iter([Err(error)]).boxed(),
        };
        let whereabouts = Arc::clone(&self.whereabouts);
        let objects = self.store.list(prefix.as_ref());
        objects.map(move |object| object.map_err(|error| whereabouts.translate(error)).and_then(meta)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.map(there).transpose()?;
        let listed = self.store.list_with_delimiter(prefix.as_ref()).await.map_err(|error| self.failed(error))?;
        Ok(ListResult {
            common_prefixes: listed.common_prefixes.iter().map(here).collect::<Result<_>>()?,
            objects: listed.objects.into_iter().map(meta).collect::<Result<_>>()?,
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            CopyMode::Overwrite => s3::CopyMode::Overwrite,
            CopyMode::Create => s3::CopyMode::Create,
        };
        let options = s3::CopyOptions { mode, extensions: options.extensions };
        self.store.copy_opts(&there(from)?, &there(to)?, options).await.map_err(|error| self.failed(error))
    }
}

/// An object that is sent in parts.
#[derive(Debug)]
struct Upload {
    upload: Box<dyn s3::MultipartUpload>,
    whereabouts: Arc<Whereabouts>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let whereabouts = Arc::clone(&self.whereabouts);
        self.upload.put_part(payload(data)).map_err(move |error| whereabouts.translate(error)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await.map(written).map_err(|error| self.whereabouts.translate(error))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await.map_err(|error| self.whereabouts.translate(error))
    }
}
