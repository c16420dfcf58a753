//! The JA4 fingerprint of a ClientHello over TCP, after the published specification.
//!
//! It is a pure function of the hello. Invariant: values reserved by RFC 8701 (GREASE) never count, and the order of
//! ciphers and extensions does not matter while that of signature algorithms does.

use std::fmt::Write as _;

use crate::client_hello::ClientHello;

const SERVER_NAME: u16 = 0x0000;
const ALPN: u16 = 0x0010;

/// Returns the fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
pub(crate) fn fingerprint(hello: &ClientHello) -> String {
    let ciphers = without_grease(&hello.ciphers);
    let extensions = without_grease(&hello.extensions);
    let name = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let alpn = first_and_last(hello.alpn.first().map_or(&[], Vec::as_slice));
    let version = version(hello);
    let cipher_count = ciphers.len().min(99);
    let extension_count = extensions.len().min(99);
    let cipher_hash = truncated_hash(&hexadecimal(sorted(ciphers)));
    let extension_hash = extension_hash(extensions, &hello.signature_algorithms);
    format!("t{version}{name}{cipher_count:02}{extension_count:02}{alpn}_{cipher_hash}_{extension_hash}")
}

fn extension_hash(mut extensions: Vec<u16>, signature_algorithms: &[u16]) -> String {
    // Both are told apart in the first part already.
    extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
    let mut text = hexadecimal(sorted(extensions));
    let algorithms = without_grease(signature_algorithms);
    if !text.is_empty() && !algorithms.is_empty() {
        text.push('_');
        text.push_str(&hexadecimal(algorithms));
    }
    truncated_hash(&text)
}

pub(crate) fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && high & 0x0f == 0x0a
}

fn without_grease(values: &[u16]) -> Vec<u16> {
    values.iter().copied().filter(|value| !is_grease(*value)).collect()
}

fn sorted(mut values: Vec<u16>) -> Vec<u16> {
    values.sort_unstable();
    values
}

fn version(hello: &ClientHello) -> &'static str {
    let offered = hello.versions.iter().copied().filter(|version| !is_grease(*version)).max();
    match offered.unwrap_or(hello.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// Returns the first and last character of a protocol name; of its hexadecimal form if either is not alphanumeric.
fn first_and_last(protocol: &[u8]) -> String {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)].iter().collect();
    }
    format!("{:x}{:x}", first >> 4, last & 0x0f)
}

fn hexadecimal(values: Vec<u16>) -> String {
    let mut text = String::with_capacity(values.len() * 5);
    for value in values {
        let separator = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{value:04x}");
    }
    text
}

/// Returns the first six bytes of the SHA-256, or zeros for an empty list.
fn truncated_hash(text: &str) -> String {
    if text.is_empty() {
        return "000000000000".to_owned();
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(6).fold(String::with_capacity(12), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{fingerprint, first_and_last};
    use crate::client_hello::ClientHello;

    /// The hello of a desktop Chrome, as the specification prints it.
    fn chrome() -> ClientHello {
        ClientHello {
            legacy_version: 0x0303,
            versions: vec![0x7a7a, 0x0304, 0x0303],
            sni: Some("example.com".to_owned()),
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            ciphers: vec![
                0x3a3a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c,
                0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x0a0a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b,
                0xff01, 0x000b, 0x000a, 0x0015, 0xcaca,
            ],
            signature_algorithms: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            groups: Vec::new(),
            key_shares: Vec::new(),
            ech: false,
            resumption: false,
            ja4: String::new(),
        }
    }

    #[test]
    fn the_specifications_example_has_its_published_fingerprint() {
        assert_eq!(fingerprint(&chrome()), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn order_matters_only_for_signature_algorithms() {
        let reference = fingerprint(&chrome());
        let mut shuffled = chrome();
        shuffled.ciphers.reverse();
        shuffled.extensions.reverse();
        assert_eq!(fingerprint(&shuffled), reference);
        shuffled.signature_algorithms.reverse();
        assert_ne!(fingerprint(&shuffled), reference);
    }

    #[test]
    fn missing_parts_have_fixed_marks() {
        let mut bare = chrome();
        bare.versions.clear();
        bare.extensions.clear();
        bare.signature_algorithms.clear();
        bare.alpn.clear();
        bare.ciphers.clear();
        assert_eq!(fingerprint(&bare), "t12i000000_000000000000_000000000000");
        bare.legacy_version = 0x7f7f;
        assert_eq!(&fingerprint(&bare)[..3], "t00");
    }

    #[test]
    fn protocol_mark_follows_the_first_and_last_byte() {
        for (protocol, expected) in [
            (&b""[..], "00"),
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"h", "hh"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\x31\xab\xcd", "3d"),
            (b"0\xab", "3b"),
        ] {
            assert_eq!(first_and_last(protocol), expected, "{protocol:?}");
        }
    }
}
