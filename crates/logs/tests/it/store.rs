//! An S3-compatible store, as a process of its own: `s3s-fs`, started from this test binary again.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use logs::bucket::{Bucket, BucketSettings, Credentials};
use s3s::auth::SimpleAuth;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, GetObjectInput, GetObjectOutput, PutObjectInput, PutObjectOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use types::Secret;

/// Tells the test that starts this to be a store instead.
const CHILD: &str = "PORTUNUS_TEST_STORE";
pub(crate) const BUCKET: &str = "lake";
const KEY: &str = "AKIAEXAMPLE";
pub(crate) const SECRET: &str = "a secret/of+tests";

/// What is odd about a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oddity {
    None,
    /// It writes an object again, whatever the condition.
    Unconditional,
    /// Of the first commits of each table the answer is lost, though they are made.
    LosesAnswers,
}

/// A store that runs; it ends with this.
pub(crate) struct Store {
    child: Child,
    /// Kept open: the test harness in it writes there.
    _said: Lines<BufReader<ChildStdout>>,
    pub address: String,
    pub root: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Store {
    /// Starts a store over a directory, with one bucket.
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_odd(root, Oddity::None, "127.0.0.1:0")
    }

    pub(crate) fn start_odd(root: &Path, oddity: Oddity, address: &str) -> Self {
        std::fs::create_dir_all(root.join(BUCKET)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bucket::the_lakes_promises_hold_in_a_bucket", "--nocapture"])
            .env(CHILD, format!("{oddity:?} {address} {}", root.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the store ended by itself").unwrap();
            if let Some(address) = line.strip_prefix("listening ") {
                break address.to_owned();
            }
        };
        Self { child, _said: lines, address, root: root.to_owned() }
    }

    /// Ends it as a kill does; it can be started again at the same address.
    pub(crate) fn kill(mut self) -> (PathBuf, String) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.root.clone(), self.address.clone())
    }

    pub(crate) fn bucket(&self, prefix: &str) -> Bucket {
        bucket(&self.address, BUCKET, prefix, SECRET)
    }
}

pub(crate) fn bucket(address: &str, name: &str, prefix: &str, secret: &str) -> Bucket {
    let credentials = Credentials::Keys { id: KEY.to_owned(), secret: Secret::new(secret.to_owned()), token: None };
    let settings = BucketSettings {
        url: format!("s3://{name}/{prefix}"),
        endpoint: Some(format!("http://{address}")),
        credentials,
        ..BucketSettings::default()
    };
    Bucket::new(settings).unwrap()
}

/// The bucket that a test directory stands for, when this process runs the suite for buckets.
pub(crate) fn of_suite(directory: &Path) -> Option<(Bucket, PathBuf)> {
    let told = std::env::var_os(super::bucket::SUITE)?.into_string().unwrap();
    let (address, root) = told.split_once(' ').unwrap();
    // One for each test: to list anything this store looks at every file of the bucket, of which others go meanwhile.
    let name: String = directory.file_name().unwrap().as_encoded_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let files = Path::new(root).join(&name);
    std::fs::create_dir_all(&files).unwrap();
    Some((bucket(address, &name, "logs", SECRET), files.join("logs")))
}

pub(crate) fn suite(store: &Store) -> String {
    format!("{} {}", store.address, store.root.display())
}

/// Is a store until its input ends, if this process was started for that.
pub(crate) fn serve_if_told() -> bool {
    let Some(told) = std::env::var_os(CHILD) else { return false };
    let told = told.into_string().unwrap();
    let [oddity, address, root] = told.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    std::thread::spawn(|| {
        // Whoever started it is gone.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let (unconditional, loses) = (oddity == "Unconditional", oddity == "LosesAnswers");
    crate::fixture::run(serve(address.to_owned(), PathBuf::from(root), unconditional, loses));
    true
}

async fn serve(address: String, root: PathBuf, unconditional: bool, loses: bool) {
    let files = FileSystem::new(&root).unwrap();
    let mut builder =
        if unconditional { S3ServiceBuilder::new(Unconditional(files)) } else { S3ServiceBuilder::new(files) };
    builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "listening {}", listener.local_addr().unwrap()).unwrap();
    // It looks whether an object is there and writes it then: only one at a time may do so.
    let writing = Arc::new(tokio::sync::Mutex::new(()));
    let lost = Arc::new(AtomicBool::new(!loses));
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (service, writing, lost) = (service.clone(), Arc::clone(&writing), Arc::clone(&lost));
        let connection = async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let (service, writing, lost) = (service.clone(), Arc::clone(&writing), Arc::clone(&lost));
                async move {
                    let conditional = request.headers().contains_key("if-none-match");
                    let commit = request.uri().path().ends_with(".json") && conditional;
                    let held = if conditional { Some(writing.lock().await) } else { None };
                    let answer = service.call(request.map(s3s::Body::from)).await;
                    drop(held);
                    if commit && !lost.swap(true, Ordering::SeqCst) {
                        return Err(std::io::Error::other("lost"));
                    }
                    answer.map_err(|error| std::io::Error::other(format!("{error:?}")))
                }
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(socket), answer).await;
            Ok::<_, Infallible>(())
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
        tokio::spawn(connection);
    }
}

/// A store that knows no conditions, and no other bucket.
struct Unconditional(FileSystem);

#[async_trait::async_trait]
impl S3 for Unconditional {
    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        if request.input.bucket != BUCKET {
            return Err(s3s::s3_error!(NoSuchBucket, "The specified bucket does not exist"));
        }
        request.input.if_none_match = None;
        self.0.put_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.0.get_object(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.0.delete_object(request).await
    }
}
