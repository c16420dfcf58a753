//! The ClientHello parser against recorded clients, the fuzz corpus, and every way of cutting them.

use std::path::PathBuf;

use bytes::Bytes;
use net::client_hello::{Invalid, MAX_BYTES, Parsed, looks_like_tls, parse};
use net::server::{Opening, OpeningError, read_opening};
use net::{ClientHello, Offer};
use proptest::prelude::{any, prop, proptest};
use tokio::io::AsyncWriteExt as _;

use crate::support::PATIENCE;

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/client_hello")
}

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(corpus().join(format!("{name}.bin"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn hello(bytes: &[u8]) -> ClientHello {
    match parse(bytes).unwrap() {
        Parsed::Hello(hello) => *hello,
        Parsed::Incomplete { at_least } => panic!("wants {at_least} bytes of {}", bytes.len()),
    }
}

/// The fingerprints were computed by a second, independent implementation; that of Chromium, which puts GREASE among
/// its signature algorithms, is also the one the specification's authors published for it.
#[test]
fn recorded_clients_are_recognised() {
    for (name, sni, offer, ech, ja4) in [
        ("chromium", Some("www.example.com"), Offer::Both, true, "t13d1517h2_8daaf6152771_cb7bf5808d99"),
        ("fragmented-chromium", Some("www.example.com"), Offer::Both, true, "t13d1517h2_8daaf6152771_cb7bf5808d99"),
        ("curl-h2", Some("example.com"), Offer::Both, false, "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"),
        ("curl-ip", None, Offer::Both, false, "t13i3111h2_e8f1e7e78f70_b26ce05bbdd6"),
        ("git", Some("localhost"), Offer::Both, false, "t13d2912h2_723694b0fccc_288f874c93d6"),
        ("java", None, Offer::Nothing, false, "t13i371100_db35923f8641_7c76daad20ec"),
        ("node", Some("node.example"), Offer::Http1, false, "t13d5911h1_a33745022dd6_1f22a2ca17c4"),
        ("openssl-tls12-no-sni", None, Offer::Nothing, false, "t12i280600_d943125447b4_e7e480e5a997"),
        ("openssl-tls13", Some("example.com"), Offer::Both, false, "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4"),
        ("python", Some("www.example.org"), Offer::Nothing, false, "t13d181100_85036bcba153_d41ae481755e"),
        ("wget", Some("localhost"), Offer::Nothing, false, "t13d291300_723694b0fccc_899037bd0b8c"),
    ] {
        let hello = hello(&recorded(name));
        let seen = (hello.sni.as_deref(), Offer::mirror(&hello.alpn), hello.ech, hello.ja4.as_str());
        assert_eq!(seen, (sni, offer, ech, ja4), "{name}");
    }
}

#[test]
fn a_browser_says_it_is_ready_for_post_quantum_exchange() {
    let hello = hello(&recorded("chromium"));
    assert!(hello.key_shares.contains(&0x11ec), "{:x?}", hello.key_shares);
    assert!(hello.offers_tls13());
    assert!(!hello.resumption);
}

#[test]
fn malformed_hellos_are_refused_with_their_reason() {
    for (name, expected) in [
        ("sni-nul", Invalid::ServerName),
        ("sni-empty", Invalid::ServerName),
        ("sni-unknown-type", Invalid::ServerName),
        ("sni-two-names", Invalid::ServerName),
        ("duplicate-extension", Invalid::DuplicateExtension),
        ("trailing-byte", Invalid::Length),
        ("second-message", Invalid::Length),
        ("odd-ciphers", Invalid::Length),
        ("no-ciphers", Invalid::Length),
        ("extension-overrun", Invalid::Length),
        ("empty-record", Invalid::Length),
        ("alpn-empty-name", Invalid::Length),
        ("server-hello", Invalid::NotClientHello),
        ("claims-16-megabytes", Invalid::TooLong),
        ("one-byte-records", Invalid::TooLong),
        ("alert", Invalid::NotTls),
        ("http", Invalid::NotTls),
        ("ssh", Invalid::NotTls),
        ("sslv2", Invalid::NotTls),
    ] {
        assert_eq!(parse(&recorded(name)), Err(expected), "{name}");
    }
}

#[test]
fn unusual_but_legal_hellos_are_read() {
    for (name, sni, ja4) in [
        ("no-extensions", None, "t12i010000_0f2cb44170f4_000000000000"),
        ("empty-extensions", None, "t12i010000_0f2cb44170f4_000000000000"),
        ("sni-upper-dot", Some("www.example.com"), "t12d010100_0f2cb44170f4_000000000000"),
        ("sni-address", None, "t12d010100_0f2cb44170f4_000000000000"),
        ("ssl3", None, "ts3i010000_0f2cb44170f4_000000000000"),
    ] {
        let hello = hello(&recorded(name));
        assert_eq!((hello.sni.as_deref(), hello.ja4.as_str()), (sni, ja4), "{name}");
    }
}

#[test]
fn every_corpus_file_parses_without_a_panic_at_every_length() {
    let mut files = 0;
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let whole = parse(&bytes);
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                Ok(Parsed::Incomplete { at_least }) => assert!(cut < at_least && at_least <= MAX_BYTES),
                // Once it is decided, more bytes must not change the answer, except to show that there are too many.
                decided => assert!(decided == whole || whole == Err(Invalid::Length), "{decided:?} {whole:?}"),
            }
        }
        files += 1;
    }
    assert!(files >= 38, "{files} corpus files");
}

/// Puts a handshake message into records of the given sizes.
fn in_records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut rest, mut out, mut turn) = (message, Vec::new(), 0);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
        out.extend_from_slice(&[0x16, 3, 1]);
        out.extend_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
        out.extend_from_slice(part);
        (rest, turn) = (after, turn + 1);
    }
    out
}

proptest! {
    #[test]
    fn fragmentation_changes_nothing(sizes in prop::collection::vec(40_usize..3000, 1..5)) {
        let whole = recorded("chromium");
        let cut = in_records(&whole[5..], &sizes);
        assert_eq!(hello(&cut), hello(&whole));
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_lie(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
        check(&[&[0x16, 3, 1, 0, 200, 1, 0, 0, 196], bytes.as_slice()].concat());
    }

    #[test]
    fn a_changed_byte_is_survived(position in 0_usize..1955, value in any::<u8>()) {
        let mut bytes = recorded("chromium");
        bytes[position] = value;
        check(&bytes);
    }
}

fn check(bytes: &[u8]) {
    match parse(bytes) {
        Ok(Parsed::Incomplete { at_least }) => assert!(bytes.len() < at_least && at_least <= MAX_BYTES),
        Ok(Parsed::Hello(hello)) => {
            assert_eq!(looks_like_tls(bytes), Some(true));
            assert_eq!(hello.ja4.len(), 36);
        }
        Err(_) => {}
    }
}

#[tokio::test]
async fn an_opening_is_read_however_it_arrives_and_given_back_whole() {
    for (name, chunk) in [("chromium", 1), ("chromium", 700), ("fragmented-chromium", 64), ("http", 1), ("ssh", 5)] {
        let bytes = recorded(name);
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let (outcome, ()) = tokio::join!(read_opening(&mut near, Bytes::new(), PATIENCE), async {
            for part in bytes.chunks(chunk) {
                far.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (opening, read) = outcome.unwrap();
        assert!(bytes.starts_with(&read), "{name}");
        if let Opening::Tls(hello) = opening {
            assert_eq!(hello.sni.as_deref(), Some("www.example.com"));
        } else {
            assert!(opening == Opening::Other && !name.contains("chromium"), "{name}: {opening:?}");
        }
    }
}

#[tokio::test]
async fn bytes_already_read_count_as_part_of_the_opening() {
    let bytes = recorded("curl-h2");
    let (mut near, mut far) = tokio::io::duplex(64 * 1024);
    far.write_all(&bytes[300..]).await.unwrap();
    let already = Bytes::copy_from_slice(&bytes[..300]);
    let (opening, read) = read_opening(&mut near, already, PATIENCE).await.unwrap();
    assert!(matches!(opening, Opening::Tls(_)));
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn a_connection_that_ends_early_is_told_apart() {
    for (bytes, expected) in [
        (&b""[..], Opening::Closed),
        (&recorded("truncated"), Opening::BrokenTls(Invalid::Length)),
        (&recorded("sni-nul"), Opening::BrokenTls(Invalid::ServerName)),
    ] {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(bytes).await.unwrap();
        drop(far);
        assert_eq!(read_opening(&mut near, Bytes::new(), PATIENCE).await.unwrap().0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_not_waited_for() {
    let (mut near, _far) = tokio::io::duplex(64);
    let outcome = read_opening(&mut near, Bytes::new(), PATIENCE).await;
    assert!(matches!(outcome, Err(OpeningError::Timeout)), "{outcome:?}");
}
