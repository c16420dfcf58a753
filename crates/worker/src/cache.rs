//! `caches.default`: responses a script keeps, in memory, within a bound of bytes.
//!
//! Each scope (account and script) sees only its own entries. A response is kept only for as long as its own
//! `Cache-Control` says, and not at all without that; nothing private, partial or cookie-setting is kept.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use http_body_util::BodyExt;
use moka::Expiry;
use moka::sync::Cache;

use crate::host::{Body, HostError, full_body};

/// Largest body kept.
const MAX_BODY: usize = 1 << 20;
/// Longest time anything is kept, whatever it says.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A bounded store of responses, shared by every script of a process.
#[derive(Debug, Clone)]
pub struct ResponseCache {
    entries: Cache<(String, String), Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    status: http::StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
    age: Duration,
}

struct ByAge;

impl Expiry<(String, String), Stored> for ByAge {
    fn expire_after_create(&self, _: &(String, String), stored: &Stored, _: Instant) -> Option<Duration> {
        Some(stored.age)
    }

    fn expire_after_update(
        &self,
        _: &(String, String),
        stored: &Stored,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(stored.age)
    }
}

impl ResponseCache {
    /// Builds a store that holds about `bytes` of responses.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes)
            .weigher(|(scope, key): &(String, String), stored: &Stored| {
                let headers: usize = stored.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
                u32::try_from(scope.len() + key.len() + headers + stored.body.len() + 256).unwrap_or(u32::MAX)
            })
            .expire_after(ByAge)
            .build();
        Self { entries }
    }

    /// Returns the response kept under `key`.
    #[must_use]
    pub fn find(&self, scope: &str, key: &str) -> Option<http::Response<Body>> {
        let stored = self.entries.get(&(scope.to_owned(), key.to_owned()))?;
        let mut response = http::Response::new(full_body(stored.body));
        *response.status_mut() = stored.status;
        *response.headers_mut() = stored.headers;
        Some(response)
    }

    /// Keeps a response if it allows that.
    ///
    /// # Errors
    /// When the response may not be cached at all (partial, `Vary: *`), its body is too large or fails.
    pub async fn put(&self, scope: &str, key: &str, response: http::Response<Body>) -> Result<(), HostError> {
        let (parts, body) = response.into_parts();
        if parts.status == http::StatusCode::PARTIAL_CONTENT {
            return Err(HostError::type_error("a partial response cannot be cached"));
        }
        if parts.headers.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*')) {
            return Err(HostError::type_error("a response with Vary: * cannot be cached"));
        }
        let Some(age) = freshness(&parts.headers) else {
            return Ok(());
        };
        let body = read_bounded(body).await?;
        let stored = Stored { status: parts.status, headers: parts.headers, body, age };
        self.entries.insert((scope.to_owned(), key.to_owned()), stored);
        Ok(())
    }

    /// Removes `key` and says whether it was there.
    #[must_use]
    pub fn delete(&self, scope: &str, key: &str) -> bool {
        self.entries.remove(&(scope.to_owned(), key.to_owned())).is_some()
    }
}

/// Returns how long a response may be kept, or nothing if it may not.
fn freshness(headers: &http::HeaderMap) -> Option<Duration> {
    if headers.contains_key(SET_COOKIE) {
        return None;
    }
    let (mut shared, mut private) = (None, None);
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || argument.trim().trim_matches('"').parse::<u64>().ok();
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" | "private" => return None,
                "s-maxage" => shared = seconds(),
                "max-age" => private = seconds(),
                _ => {}
            }
        }
    }
    let age = Duration::from_secs(shared.or(private)?).min(MAX_AGE);
    (!age.is_zero()).then_some(age)
}

/// Reads a body that is about to be kept.
async fn read_bounded(mut body: Body) -> Result<Bytes, HostError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| HostError::type_error("the body to cache could not be read"))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > MAX_BODY {
                return Err(HostError::type_error(format!("a cached body may have at most {MAX_BODY} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::{MAX_BODY, ResponseCache};
    use crate::host::{Body, full_body};

    fn response(headers: &[(&str, &str)], body: &str) -> http::Response<Body> {
        let mut builder = http::Response::builder().status(200);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(full_body(body.to_owned())).unwrap()
    }

    #[tokio::test]
    async fn a_response_is_kept_only_if_it_says_so() {
        for (headers, kept) in [
            (&[("cache-control", "max-age=60")][..], true),
            (&[("cache-control", "public, s-maxage=\"60\"")], true),
            (&[("cache-control", "max-age=60, s-maxage=0")], false),
            (&[("cache-control", "max-age=0")], false),
            (&[("cache-control", "private, max-age=60")], false),
            (&[("cache-control", "No-Store, max-age=60")], false),
            (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], false),
            (&[], false),
        ] {
            let cache = ResponseCache::new(1 << 20);
            cache.put("s", "k", response(headers, "body")).await.unwrap();
            assert_eq!(cache.find("s", "k").is_some(), kept, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn scopes_do_not_see_each_other() {
        let cache = ResponseCache::new(1 << 20);
        cache.put("one", "k", response(&[("cache-control", "max-age=60")], "body")).await.unwrap();
        assert!(cache.find("two", "k").is_none());
        assert!(!cache.delete("two", "k"));
        let body = cache.find("one", "k").unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "body");
        assert!(cache.delete("one", "k"));
        assert!(cache.find("one", "k").is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_cached_is_an_error() {
        let cache = ResponseCache::new(1 << 20);
        let vary = response(&[("vary", "*"), ("cache-control", "max-age=60")], "");
        assert!(cache.put("s", "k", vary).await.is_err());
        let large = response(&[("cache-control", "max-age=60")], &"x".repeat(MAX_BODY + 1));
        assert!(cache.put("s", "k", large).await.is_err());
        let mut partial = response(&[("cache-control", "max-age=60")], "");
        *partial.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        assert!(cache.put("s", "k", partial).await.is_err());
    }
}
