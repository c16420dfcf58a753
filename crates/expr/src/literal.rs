//! Reads constants from their text: numbers, addresses, networks, ranges and hexadecimal bytes.
//! Decides only what a text means, never whether it may stand where it stands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads a decimal, `0x` hexadecimal or leading-zero octal number, with an optional minus sign.
pub(crate) fn int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if !digits.bytes().next()?.is_ascii_digit() {
        return None;
    }
    let magnitude = if let Some(hex) = digits.strip_prefix("0x") {
        // `from_str_radix` would take a sign after the prefix.
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| i128::from_str_radix(hex, 16).ok())??
    } else if digits.len() > 1 && digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse::<i128>().ok()?
    };
    i64::try_from(if negative { magnitude.checked_neg()? } else { magnitude }).ok()
}

/// Reads a number or an inclusive range `first..last`.
pub(crate) fn int_range(text: &str) -> Option<(i64, i64)> {
    match text.split_once("..") {
        Some((first, last)) => ordered(int(first)?, int(last)?),
        None => int(text).map(|value| (value, value)),
    }
}

/// Reads one address; an IPv4-mapped IPv6 address is its IPv4 address.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Reads `address/length` without regard to the bits after the prefix.
pub(crate) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = address.parse::<IpAddr>().ok()?;
    let length = length.bytes().all(|b| b.is_ascii_digit()).then(|| length.parse::<u8>().ok())??;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// Returns the first and the last address of a network.
pub(crate) fn network_range(address: IpAddr, length: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            let first = address.to_bits() & !host;
            (Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(first | host).into())
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            let first = address.to_bits() & !host;
            (Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(first | host).into())
        }
    }
}

/// Reads an address, a network or an inclusive range `first..last`, as its first and last address.
pub(crate) fn ip_range(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once("..") {
        let (first, last) = (ip(first)?, ip(last)?);
        return if first.is_ipv4() == last.is_ipv4() { ordered(first, last) } else { None };
    }
    if let Some((address, length)) = network(text) {
        return Some(network_range(address, length));
    }
    ip(text).map(|address| (address, address))
}

/// Reads `0a:0b:0c`: at least two octets of two hexadecimal digits each, between colons, dashes or dots.
pub(crate) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let separator = text.chars().nth(2).filter(|c| matches!(c, ':' | '-' | '.'))?;
    text.split(separator)
        .map(|octet| {
            let two = octet.len() == 2 && octet.bytes().all(|b| b.is_ascii_hexdigit());
            two.then(|| u8::from_str_radix(octet, 16).ok())?
        })
        .collect()
}

fn ordered<T: PartialOrd>(first: T, last: T) -> Option<(T, T)> {
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_in_three_bases() {
        for (text, value) in [
            ("0", Some(0)),
            ("42", Some(42)),
            ("-7", Some(-7)),
            ("0x1F", Some(31)),
            ("-0x10", Some(-16)),
            ("0755", Some(493)),
            ("089", None),
            ("0x", None),
            ("0x-1", None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("+1", None),
            ("1e3", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
        ] {
            assert_eq!(int(text), value, "{text}");
        }
    }

    #[test]
    fn networks_and_ranges_give_their_ends() {
        for (text, range) in [
            ("10.0.0.0/8", Some(("10.0.0.0", "10.255.255.255"))),
            ("0.0.0.0/0", Some(("0.0.0.0", "255.255.255.255"))),
            ("192.0.2.7/32", Some(("192.0.2.7", "192.0.2.7"))),
            ("2001:db8::/127", Some(("2001:db8::", "2001:db8::1"))),
            ("::/0", Some(("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))),
            ("::ffff:192.0.2.1", Some(("192.0.2.1", "192.0.2.1"))),
            ("192.0.2.1..192.0.2.9", Some(("192.0.2.1", "192.0.2.9"))),
            ("192.0.2.9..192.0.2.1", None),
            ("192.0.2.1..::1", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/+8", None),
            ("10.0.0", None),
        ] {
            let expected = range.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
            assert_eq!(ip_range(text), expected, "{text}");
        }
    }

    #[test]
    fn hexadecimal_bytes_need_two_digits_and_one_separator() {
        assert_eq!(hex_bytes("6F:72:67"), Some(b"org".to_vec()));
        assert_eq!(hex_bytes("6f-72"), Some(b"or".to_vec()));
        for text in ["6F", "6:7", "6F:72-67", "6F:7", "6F:+2", "", "6F:"] {
            assert_eq!(hex_bytes(text), None, "{text}");
        }
    }
}
