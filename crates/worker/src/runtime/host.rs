//! Hosts of the URL Standard: domains, IPv4 in all its old spellings, IPv6, opaque hosts. Pure; gives the serialized form.

use std::fmt::Write as _;

use idna::AsciiDenyList;

use super::address::{Failure, encode_controls, is_opaque_host, percent_decode};

pub(super) fn is_forbidden_host(c: char) -> bool {
    matches!(
        c,
        '\0' | '\t' | '\n' | '\r' | ' ' | '#' | '/' | ':' | '<' | '>' | '?' | '@' | '[' | '\\' | ']' | '^' | '|'
    )
}

/// Parses a host; `special` is whether the URL's scheme knows domains.
pub(super) fn parse_host(text: &str, special: bool) -> Result<String, Failure> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(Failure)?;
        return Ok(format!("[{}]", write_ipv6(parse_ipv6(inner)?)));
    }
    if !special {
        return if is_opaque_host(text) { Ok(encode_controls(text)) } else { Err(Failure) };
    }
    let decoded = percent_decode(text);
    let decoded = String::from_utf8_lossy(&decoded);
    let domain = idna::domain_to_ascii_cow(decoded.as_bytes(), AsciiDenyList::URL).map_err(|_| Failure)?;
    if domain.is_empty() || domain.chars().any(|c| is_forbidden_host(c) || c <= ' ' || matches!(c, '%' | '\u{7f}')) {
        return Err(Failure);
    }
    if ends_in_number(&domain) {
        let address = parse_ipv4(&domain)?;
        return Ok(std::net::Ipv4Addr::from(address).to_string());
    }
    Ok(domain.into_owned())
}

fn ends_in_number(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let last = domain.rsplit('.').next().unwrap_or_default();
    (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())) || parse_number(last).is_some()
}

/// Decimal, octal or hexadecimal; `None` when it is none of them. Saturates.
fn parse_number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let (digits, radix) = if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        (digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    let mut number = 0_u64;
    for c in digits.chars() {
        number = number.saturating_mul(u64::from(radix)).saturating_add(u64::from(c.to_digit(radix)?));
    }
    Some(number)
}

fn parse_ipv4(domain: &str) -> Result<u32, Failure> {
    let mut parts: Vec<&str> = domain.split('.').collect();
    if parts.len() > 1 && parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    if parts.len() > 4 {
        return Err(Failure);
    }
    let numbers: Option<Vec<u64>> = parts.iter().map(|part| parse_number(part)).collect();
    let numbers = numbers.ok_or(Failure)?;
    let (last, rest) = numbers.split_last().ok_or(Failure)?;
    let room = 1_u64 << (8 * (4 - rest.len()));
    if rest.iter().any(|number| *number > 255) || *last >= room {
        return Err(Failure);
    }
    let address = rest.iter().zip(0_u32..).fold(*last, |address, (number, at)| address + (number << (8 * (3 - at))));
    u32::try_from(address).map_err(|_| Failure)
}

fn parse_ipv6(text: &str) -> Result<[u16; 8], Failure> {
    let (head, tail) = match text.split_once("::") {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    };
    let front = pieces(head, tail.is_none())?;
    let mut address = [0; 8];
    let Some(tail) = tail else {
        return <[u16; 8]>::try_from(front).map_err(|_| Failure);
    };
    let back = pieces(tail, true)?;
    if front.len() + back.len() > 7 {
        return Err(Failure);
    }
    for (slot, piece) in address.iter_mut().zip(&front) {
        *slot = *piece;
    }
    for (slot, piece) in address.iter_mut().rev().zip(back.iter().rev()) {
        *slot = *piece;
    }
    Ok(address)
}

/// Pieces between colons; only the last text of an address may be an IPv4 one.
fn pieces(text: &str, last: bool) -> Result<Vec<u16>, Failure> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let mut made = Vec::with_capacity(8);
    for (at, part) in parts.iter().enumerate() {
        if last && at + 1 == parts.len() && part.contains('.') {
            let address: std::net::Ipv4Addr = part.parse().map_err(|_| Failure)?;
            let [a, b, c, d] = address.octets();
            made.extend([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]);
            continue;
        }
        if part.is_empty() || part.len() > 4 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Failure);
        }
        made.push(u16::from_str_radix(part, 16).map_err(|_| Failure)?);
    }
    if made.len() > 8 { Err(Failure) } else { Ok(made) }
}

/// The longest run of zeros, if of two or more, is left out.
fn write_ipv6(address: [u16; 8]) -> String {
    let (mut best, mut best_length) = (0, 1);
    let mut at = 0;
    while at < 8 {
        let length = address[at..].iter().take_while(|piece| **piece == 0).count();
        if length > best_length {
            (best, best_length) = (at, length);
        }
        at += length.max(1);
    }
    let mut text = String::new();
    let mut at = 0;
    while at < 8 {
        if best_length > 1 && at == best {
            text.push_str(if at == 0 { "::" } else { ":" });
            at += best_length;
            continue;
        }
        let _ = write!(text, "{:x}", address[at]);
        at += 1;
        if at < 8 {
            text.push(':');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (text, special, expected) in [
            ("EXAMPLE.com", true, Some("example.com")),
            ("faß.de", true, Some("xn--fa-hia.de")),
            ("0x7f.1", true, Some("127.0.0.1")),
            ("4294967295", true, Some("255.255.255.255")),
            ("4294967296", true, None),
            ("1.2.3.4.5", true, None),
            ("[::1:0:0:0]", true, Some("[::1:0:0:0]")),
            ("[1:0:0:2:0:0:0:3]", true, Some("[1:0:0:2::3]")),
            ("[::ffff:1.2.3.4]", true, Some("[::ffff:102:304]")),
            ("[1::2::3]", true, None),
            ("a b", true, None),
            ("a%41", true, Some("aa")),
            ("A%41", false, Some("A%41")),
            ("a<b", false, None),
        ] {
            assert_eq!(parse_host(text, special).ok().as_deref(), expected, "{text}");
        }
    }
}
