//! Markdown for agents: an application's HTML turned into Markdown for whoever prefers it.
//!
//! What a page becomes is `markdown`'s; here stands which answers are turned, and what their heads say then. Invariants: a
//! page streams, with bounds on what is held and on what it may unpack to; nothing that spoke of the HTML's bytes (length,
//! validators, digests, ranges) stays on an answer that has others; and every answer that could have been either says so in
//! `Vary`.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::markdown::Converter;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use net::BoxError;
use net::proxy::body::{Body, boxed};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::exchange::Exchange;
use crate::page;
use crate::snapshot::Published;

/// Pages that are turned at the same time.
const AT_ONCE: usize = 128;
/// How long a page waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a page, unpacked. What is longer breaks off.
const MOST_PAGE: u64 = 64 << 20;
/// Bytes that are worked on at a time. Deflate packs a thousand to one, so this much unpacks to a mebibyte at most.
const SLICE: usize = 1 << 10;
/// Bytes that Brotli, which packs more than a million to one, unpacks at a time.
const UNPACKED: usize = 64 << 10;
/// Slices between two looks at what else there is to do.
const SLICES_IN_A_ROW: usize = 16;

/// What a request for a page that may be turned asks of the origin.
const CONDITIONS: [HeaderName; 4] = [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
/// What speaks of the bytes of the HTML.
const OF_THE_HTML: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ETAG,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
];
const DIGESTS: [&str; 3] = ["digest", "content-digest", "repr-digest"];

/// The pages that are turned now.
pub(crate) struct Turning(Arc<Semaphore>);

impl Turning {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// How one exchange has to do with Markdown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The application does not offer it.
    NotOffered,
    Html,
    Markdown,
}

/// Finds out whether a request wants Markdown.
pub(crate) fn wish(exchange: &Exchange, published: &Published) -> Wish {
    if exchange.upgrade.is_some() || !published.self_hosted().is_some_and(|app| app.markdown) {
        return Wish::NotOffered;
    }
    let accept = exchange.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if ::markdown::is_preferred(accept) { Wish::Markdown } else { Wish::Html }
}

/// Makes a request to the origin one whose answer can be turned: whole, and packed in a way that can be unpacked.
pub(crate) fn prepare(request: &mut Request<Body>) {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    if reads {
        // Validators and ranges of the Markdown, if a client has any, mean nothing to the application.
        for name in CONDITIONS {
            headers.remove(name);
        }
    }
}

/// Turns an answer, if it is a page and Markdown is wanted.
pub(crate) async fn turn(
    exchange: &Exchange,
    published: &Published,
    wish: Wish,
    mut response: Response<Body>,
) -> Response<Body> {
    if wish == Wish::NotOffered || !is_page(&response) {
        return response;
    }
    vary(response.headers_mut());
    let Some(packing) = Packing::of(response.headers()).filter(|_| wish == Wish::Markdown) else { return response };
    let media_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Put together by parts: a path of two slashes must not name another host.
    let address = exchange.site(&exchange.host).map(|mut site| {
        site.set_path(&exchange.path);
        site.set_query(exchange.query.as_deref());
        site
    });
    let converter = Converter::new(media_type.unwrap_or_default(), address);
    let headers = response.headers_mut();
    for name in OF_THE_HTML {
        headers.remove(name);
    }
    for name in DIGESTS {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    if exchange.method == Method::HEAD || response.body().is_end_stream() {
        return response;
    }
    let turn = Arc::clone(&exchange.plane().turning.0).acquire_owned();
    let Ok(Ok(place)) = tokio::time::timeout(PATIENCE, turn).await else {
        let mut busy = page::plain(StatusCode::SERVICE_UNAVAILABLE, "too many pages are being turned into Markdown");
        busy.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        return busy;
    };
    let application = published.application.id;
    response.map(|body| {
        boxed(Turned {
            body,
            packing,
            converter: Some(converter),
            input: Bytes::new(),
            read: 0,
            application,
            _place: place,
        })
    })
}

/// Whether an answer is a page: all of it, to be looked at.
fn is_page(response: &Response<Body>) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html")
    };
    let attached = response.headers().get(header::CONTENT_DISPOSITION).is_some_and(|value| {
        value.as_bytes().trim_ascii_start().get(..10).is_some_and(|word| word.eq_ignore_ascii_case(b"attachment"))
    });
    matches!(response.status(), StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION)
        && response.headers().get(header::CONTENT_TYPE).is_some_and(essence)
        && !attached
}

/// Says that the answer hangs on `Accept` (RFC 9110 section 12.5.5).
fn vary(headers: &mut HeaderMap) {
    let named = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let said = named
        .flat_map(|value| value.split(','))
        .any(|name| matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("accept"));
    if !said {
        headers.append(header::VARY, HeaderValue::from_static("Accept"));
    }
}

/// How a page is packed (RFC 9110 section 8.4.1).
enum Packing {
    Plain,
    Gzip(MultiGzDecoder<Vec<u8>>),
    /// Its first bytes tell which of two it is: servers send either under this name.
    Deflate(Vec<u8>),
    Zlib(ZlibDecoder<Vec<u8>>),
    Raw(DeflateDecoder<Vec<u8>>),
    Brotli(Box<Brotli>),
}

/// RFC 7932, without the large windows that browsers do not take either: it holds 16 MiB at most.
struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    /// It has more to give before it needs more.
    full: bool,
    over: bool,
}

impl Brotli {
    fn new() -> Self {
        let memory = StandardAlloc::default;
        Self { state: BrotliState::new_strict(memory(), memory(), memory()), full: false, over: false }
    }

    fn unpack(&mut self, input: &mut Bytes) -> std::io::Result<Vec<u8>> {
        if self.over {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "bytes follow the end of the page"));
        }
        let mut output = vec![0; UNPACKED];
        let (mut available, mut taken) = (input.len(), 0);
        let (mut room, mut given, mut total) = (output.len(), 0, 0);
        let result = BrotliDecompressStream(
            &mut available,
            &mut taken,
            input,
            &mut room,
            &mut given,
            &mut output,
            &mut total,
            &mut self.state,
        );
        input.advance(taken);
        output.truncate(given);
        self.full = false;
        match result {
            BrotliResult::ResultSuccess => self.over = true,
            BrotliResult::NeedsMoreInput => {}
            BrotliResult::NeedsMoreOutput => self.full = true,
            BrotliResult::ResultFailure => {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "this is no Brotli stream"));
            }
        }
        Ok(output)
    }
}

impl Packing {
    /// Reads it; `None` for one that cannot be unpacked here.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found = Self::Plain;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let name = value.to_str().ok()?.trim().to_ascii_lowercase();
            found = match (name.as_str(), &found) {
                ("identity" | "", _) => found,
                ("gzip" | "x-gzip", Self::Plain) => Self::Gzip(MultiGzDecoder::new(Vec::new())),
                ("deflate", Self::Plain) => Self::Deflate(Vec::new()),
                ("br", Self::Plain) => Self::Brotli(Box::new(Brotli::new())),
                _ => return None,
            };
        }
        Some(found)
    }

    /// Unpacks some bytes of the input and takes them away.
    fn unpack(&mut self, input: &mut Bytes) -> std::io::Result<Vec<u8>> {
        if let Self::Brotli(decoder) = self {
            return decoder.unpack(input);
        }
        let mut slice = input.split_to(input.len().min(SLICE));
        if let Self::Deflate(head) = self {
            head.extend_from_slice(&slice);
            let [first, second, ..] = *head.as_slice() else { return Ok(Vec::new()) };
            // RFC 1950 section 2.2.
            let zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
            slice = Bytes::from(std::mem::take(head));
            *self = if zlib {
                Self::Zlib(ZlibDecoder::new(Vec::new()))
            } else {
                Self::Raw(DeflateDecoder::new(Vec::new()))
            };
        }
        let unpacked = match self {
            Self::Gzip(decoder) => {
                decoder.write_all(&slice)?;
                decoder.get_mut()
            }
            Self::Zlib(decoder) => {
                decoder.write_all(&slice)?;
                decoder.get_mut()
            }
            Self::Raw(decoder) => {
                decoder.write_all(&slice)?;
                decoder.get_mut()
            }
            // The two that are packed otherwise went another way above.
            Self::Plain | Self::Deflate(_) | Self::Brotli(_) => return Ok(slice.into()),
        };
        Ok(std::mem::take(unpacked))
    }

    /// Tells whether there is more to unpack of what was taken already.
    fn is_full(&self) -> bool {
        matches!(self, Self::Brotli(decoder) if decoder.full)
    }

    /// Ends it; a page that breaks off is not taken for one that ended.
    fn end(&mut self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain | Self::Deflate(_) => Ok(Vec::new()),
            Self::Brotli(decoder) if decoder.over => Ok(Vec::new()),
            Self::Brotli(_) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zlib(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Raw(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }
}

/// A page that is turned while it passes.
struct Turned {
    body: Body,
    packing: Packing,
    /// `None` once the page is over or was given up.
    converter: Option<Converter>,
    /// What came and is not worked on yet.
    input: Bytes,
    read: u64,
    application: types::ApplicationId,
    _place: OwnedSemaphorePermit,
}

impl Turned {
    fn step(&mut self) -> Result<String, BoxError> {
        let bytes = self.packing.unpack(&mut self.input)?;
        self.convert(&bytes)
    }

    fn convert(&mut self, bytes: &[u8]) -> Result<String, BoxError> {
        self.read = self.read.saturating_add(bytes.len() as u64);
        if self.read > MOST_PAGE {
            return Err(format!("the page is longer than {MOST_PAGE} bytes").into());
        }
        match &mut self.converter {
            Some(converter) => Ok(converter.push(bytes)?),
            None => Ok(String::new()),
        }
    }

    fn end(&mut self) -> Result<String, BoxError> {
        let bytes = self.packing.end()?;
        let mut text = self.convert(&bytes)?;
        if let Some(converter) = self.converter.take() {
            text.push_str(&converter.end()?);
        }
        Ok(text)
    }

    /// What a step came to: text for the client, nothing yet, or the end of the answer, which then is cut short.
    fn out(&mut self, text: Result<String, BoxError>) -> Option<Result<Frame<Bytes>, BoxError>> {
        match text {
            Ok(text) if text.is_empty() => None,
            Ok(text) => Some(Ok(Frame::data(Bytes::from(text)))),
            Err(error) => {
                self.converter = None;
                tracing::warn!(%error, application = %self.application, "a page cannot be turned into Markdown");
                Some(Err(error))
            }
        }
    }
}

impl http_body::Body for Turned {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut slices = 0;
        loop {
            if this.converter.is_none() {
                return Poll::Ready(None);
            }
            if !this.input.is_empty() || this.packing.is_full() {
                // A page that unpacks to much and says little must not keep the thread from others.
                if slices == SLICES_IN_A_ROW {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                slices += 1;
                let text = this.step();
                if let Some(frame) = this.out(text) {
                    return Poll::Ready(Some(frame));
                }
                continue;
            }
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        this.input = data;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.converter = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    let text = this.end();
                    return Poll::Ready(this.out(text));
                }
            }
        }
    }
}
