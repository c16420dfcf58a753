//! Puts a batch into a bucket of an S3-compatible store: one object, signed with AWS Signature Version 4.
//!
//! It names objects and signs requests; who sends them is [`super::send`], by the guarded way. Invariant: a batch that is sent
//! again has the same name, and so takes its own place.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::{Method, Request, header};
use jiff::Timestamp;
use push::S3;
use url::Url;

use super::batch::Packed;

/// Returns the request that puts a batch into a bucket at a time.
///
/// # Errors
///
/// When the address can carry no request.
pub(super) fn put(s3: &S3, packed: Packed, now: Timestamp) -> Result<Request<worker::Body>, http::Error> {
    let (origin, path) = address(s3, &key(&s3.prefix, &packed));
    let hash = hex(digest(&SHA256, &packed.body).as_ref());
    let at = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut headers =
        vec![("host", origin.clone()), ("x-amz-content-sha256", hash.clone()), ("x-amz-date", at.clone())];
    if s3.encrypted {
        headers.push(("x-amz-server-side-encryption", "AES256".to_owned()));
    }
    let signing =
        Signing { key_id: &s3.access_key_id, secret: s3.secret_access_key.expose(), region: &s3.region, at: &at };
    let authorization = signing.authorization("PUT", &path, &headers, &hash);
    let scheme = s3.endpoint.as_ref().map_or("https", |endpoint| endpoint.scheme());
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(format!("{scheme}://{origin}{path}"))
        .header(header::AUTHORIZATION, authorization)
        .header(header::CONTENT_TYPE, "application/gzip");
    for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
        request = request.header(*name, value);
    }
    request.body(worker::full_body(packed.body))
}

/// Returns the host, with its port where it has one, and the path of an object, escaped.
fn address(s3: &S3, key: &str) -> (String, String) {
    let key = escaped(key);
    let S3 { bucket, region, .. } = s3;
    match &s3.endpoint {
        Some(endpoint) => (authority(endpoint), format!("{}/{bucket}/{key}", endpoint.path().trim_end_matches('/'))),
        // A name with dots fits no certificate as a part of the host.
        None if bucket.contains('.') => (format!("s3.{region}.amazonaws.com"), format!("/{bucket}/{key}")),
        None => (format!("{bucket}.s3.{region}.amazonaws.com"), format!("/{key}")),
    }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Names an object: `{prefix}/{yyyyMMdd}/{start}_{end}_{hash}.log.gz`; a prefix with `{DATE}` has the day there.
fn key(prefix: &str, packed: &Packed) -> String {
    let (first, last) = packed.times;
    let day = first.strftime("%Y%m%d").to_string();
    let time = |at: Timestamp| at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let folder = if prefix.contains("{DATE}") {
        prefix.replace("{DATE}", &day)
    } else if prefix.is_empty() {
        day
    } else {
        format!("{prefix}/{day}")
    };
    let hash = hex(digest(&SHA256, packed.name.as_bytes()).as_ref());
    format!("{folder}/{}_{}_{}.log.gz", time(first), time(last), &hash[..16])
}

/// Escapes a path as the signature wants it: all but unreserved characters and slashes (RFC 3986 section 2.3).
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a signature is made with.
struct Signing<'a> {
    key_id: &'a str,
    secret: &'a str,
    region: &'a str,
    /// As `20130524T000000Z`.
    at: &'a str,
}

impl Signing<'_> {
    /// Returns the value of `Authorization`; `headers` are sorted and in small letters.
    fn authorization(&self, method: &str, path: &str, headers: &[(&str, String)], hash: &str) -> String {
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!("{method}\n{path}\n\n{lines}\n{names}\n{hash}");
        let day = self.at.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let digested = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digested}", self.at);
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [day, self.region, "s3", "aws4_request", &text] {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
        }
        format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={}", self.key_id, hex(&key))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use push::output::Format;
    use push::{Destination, S3};

    use super::{Signing, address, escaped, key, put};
    use crate::push::batch::Packed;

    /// The example "PUT Object" of the documentation of Amazon S3, "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn the_published_example_has_its_signature() {
        let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", hash),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let headers = headers.map(|(name, value)| (name, value.to_owned()));
        let signing = Signing {
            key_id: "AKIAIOSFODNN7EXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            at: "20130524T000000Z",
        };
        let value = signing.authorization("PUT", &escaped("/test$file.text"), &headers, hash);
        let signature = value.rsplit_once("Signature=").map(|(_, signature)| signature);
        assert_eq!(signature, Some("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
    }

    fn bucket(conf: &str) -> S3 {
        let conf = format!("{conf}&access-key-id=AK&secret-access-key=s");
        let Ok(Destination::S3(s3)) = Destination::parse(&conf) else { panic!("{conf}") };
        s3
    }

    fn packed(name: &str) -> Packed {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        Packed {
            name: name.to_owned(),
            job: "1".to_owned(),
            dataset: "gateway_http",
            records: 2,
            format: Format::Ndjson,
            times: (time("2026-11-28T23:59:58.5Z"), time("2026-11-29T00:00:01Z")),
            body: Bytes::from_static(b"x"),
        }
    }

    #[test]
    fn a_batch_has_its_place_in_the_bucket() {
        let times = "20261128T235958Z_20261129T000001Z";
        for (prefix, folder) in [("", "20261128"), ("a b/c", "a b/c/20261128"), ("a/{DATE}/b", "a/20261128/b")] {
            let found = key(prefix, &packed("one"));
            assert!(found.starts_with(&format!("{folder}/{times}_")) && found.ends_with(".log.gz"), "{found}");
            assert_eq!(found, key(prefix, &packed("one")));
            assert_ne!(found, key(prefix, &packed("two")));
        }
        for (conf, host, path) in [
            ("s3://logs?region=eu-central-1", "logs.s3.eu-central-1.amazonaws.com", "/a%20b"),
            ("s3://my.logs?region=eu-central-1", "s3.eu-central-1.amazonaws.com", "/my.logs/a%20b"),
            ("s3://logs?region=x&endpoint=http://127.0.0.1:9000/", "127.0.0.1:9000", "/logs/a%20b"),
            ("r2://logs?account-id=abc", "abc.r2.cloudflarestorage.com", "/logs/a%20b"),
        ] {
            assert_eq!(address(&bucket(conf), "a b"), (host.to_owned(), path.to_owned()), "{conf}");
        }
        let request = put(&bucket("s3://logs?region=x&sse=AES256"), packed("one"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(request.headers()["x-amz-server-side-encryption"], "AES256");
        let signed = request.headers()["authorization"].to_str().unwrap();
        assert!(
            signed.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-server-side-encryption,"),
            "{signed}"
        );
    }
}
