//! Reads the TLS ClientHello a client opened with, from bytes that were peeked and not consumed.
//!
//! It decides whether the bytes are a ClientHello and what it says; whether to intercept, pass or refuse is not decided
//! here, and no signature or key is looked at. Invariant: the parser allocates nothing larger than its input, never
//! reads past [`MAX_BYTES`], and refuses what RFC 8446 forbids (duplicate extensions, trailing bytes, odd lengths), so a
//! name seen here is the name the handshake will carry.

use crate::ja4;

/// The longest opening looked at. A post-quantum hello is under 2 KiB; a session ticket can add 16 KiB.
pub const MAX_BYTES: usize = 32 * 1024;

/// A record's header: type, version, length.
const RECORD_HEADER: usize = 5;

/// Records one hello may be spread over. Clients that fragment on purpose use a handful.
const MAX_RECORDS: usize = 64;

/// What the buffer holds so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A valid beginning. Nothing changes before the buffer holds `at_least` bytes.
    Incomplete {
        at_least: usize,
    },
    Hello(Box<ClientHello>),
}

/// Why the buffer is not a ClientHello. Nothing that could follow would make it one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("not a TLS handshake record")]
    NotTls,
    #[error("hello is longer than {MAX_BYTES} bytes or in too many records")]
    TooLong,
    #[error("first handshake message is not a ClientHello")]
    NotClientHello,
    #[error("a length does not match its content")]
    Length,
    #[error("an extension appears twice")]
    DuplicateExtension,
    #[error("server name is malformed")]
    ServerName,
}

/// What a client said about itself before anything was encrypted. Lists keep the client's order and its GREASE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The version field of TLS 1.2 and older.
    pub legacy_version: u16,
    /// The `supported_versions` extension, if sent.
    pub versions: Vec<u16>,
    /// The host name asked for: lower case, no final dot. With [`ClientHello::ech`] it is the outer, public name.
    pub sni: Option<String>,
    pub alpn: Vec<Vec<u8>>,
    pub ciphers: Vec<u16>,
    pub extensions: Vec<u16>,
    pub signature_algorithms: Vec<u16>,
    pub groups: Vec<u16>,
    /// The groups a key share was sent for; a hybrid one here means the client is ready for post-quantum exchange.
    pub key_shares: Vec<u16>,
    /// The client hides its real hello (RFC 9849) or greases the extension; the two look alike from outside.
    pub ech: bool,
    /// The client offers to resume a session.
    pub resumption: bool,
    /// The JA4 fingerprint.
    pub ja4: String,
}

impl ClientHello {
    /// Reports whether TLS 1.3 was offered.
    pub fn offers_tls13(&self) -> bool {
        self.versions.contains(&0x0304)
    }

    /// Reports whether ChaCha20-Poly1305 is what the client wants most, as those without AES in hardware do.
    pub fn prefers_chacha20(&self) -> bool {
        let first = self.ciphers.iter().find(|suite| !ja4::is_grease(**suite));
        matches!(first, Some(0x1303 | 0xcca8 | 0xcca9 | 0xccaa))
    }
}

/// Reports whether a connection that begins with `start` speaks TLS; `None` while there are too few bytes.
pub fn looks_like_tls(start: &[u8]) -> Option<bool> {
    match start {
        [] => None,
        [0x16] => None,
        [0x16, major] => (*major != 3).then_some(false),
        [0x16, 3, minor, ..] => Some(*minor <= 4),
        _ => Some(false),
    }
}

/// Parses the buffer, which holds the connection's first bytes.
///
/// # Errors
///
/// When the bytes cannot be the beginning of a ClientHello.
pub fn parse(buffer: &[u8]) -> Result<Parsed, Invalid> {
    let mut message = Vec::new();
    let mut rest = buffer;
    for _ in 0..MAX_RECORDS {
        let consumed = buffer.len() - rest.len();
        let Some((payload, after)) = next_record(rest)? else {
            let at_least = consumed + record_length(rest).unwrap_or(RECORD_HEADER);
            return incomplete(at_least);
        };
        // The common case, one record, is parsed in place.
        if message.is_empty()
            && let Some(body) = handshake_body(payload)?
        {
            return hello(body).map(Box::new).map(Parsed::Hello);
        }
        message.extend_from_slice(payload);
        if let Some(body) = handshake_body(&message)? {
            return hello(body).map(Box::new).map(Parsed::Hello);
        }
        rest = after;
    }
    Err(Invalid::TooLong)
}

fn incomplete(at_least: usize) -> Result<Parsed, Invalid> {
    if at_least > MAX_BYTES { Err(Invalid::TooLong) } else { Ok(Parsed::Incomplete { at_least }) }
}

/// Bytes taken, and the rest.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Returns the next record's payload and what follows it, or nothing if it is not all there.
fn next_record(bytes: &[u8]) -> Result<Option<Split<'_>>, Invalid> {
    if looks_like_tls(bytes) == Some(false) {
        return Err(Invalid::NotTls);
    }
    let Some(length) = record_length(bytes) else { return Ok(None) };
    // RFC 8446 5.1: a record of a handshake is not empty and holds at most 2^14 bytes.
    if length == RECORD_HEADER || length > RECORD_HEADER + (1 << 14) {
        return Err(Invalid::Length);
    }
    Ok(bytes.split_at_checked(length).map(|(record, after)| (&record[RECORD_HEADER..], after)))
}

fn record_length(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, ..] = bytes else { return None };
    Some(RECORD_HEADER + usize::from(u16::from_be_bytes([*high, *low])))
}

/// Returns the body of the ClientHello message once `message` holds all of it.
fn handshake_body(message: &[u8]) -> Result<Option<&[u8]>, Invalid> {
    let [kind, rest @ ..] = message else { return Ok(None) };
    if *kind != 1 {
        return Err(Invalid::NotClientHello);
    }
    let [high, middle, low, body @ ..] = rest else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([0, *high, *middle, *low])).unwrap_or(usize::MAX);
    if length > MAX_BYTES {
        return Err(Invalid::TooLong);
    }
    if body.len() > length {
        // Nothing may follow a ClientHello before the server has answered.
        return Err(Invalid::Length);
    }
    Ok((body.len() == length).then_some(body))
}

/// Takes fields off the front of a slice; each length is checked against what is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Invalid> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Invalid::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Invalid> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, Invalid> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Result<Self, Invalid> {
        let length = self.u8()?;
        self.take(length.into()).map(Self)
    }

    fn vector16(&mut self) -> Result<Self, Invalid> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    /// Reads the rest as 16-bit values; an odd byte is an error.
    fn u16_list(mut self) -> Result<Vec<u16>, Invalid> {
        let mut values = Vec::with_capacity(self.0.len() / 2);
        while !self.0.is_empty() {
            values.push(self.u16()?);
        }
        Ok(values)
    }

    const fn finish(&self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid::Length) }
    }
}

fn hello(body: &[u8]) -> Result<ClientHello, Invalid> {
    let mut reader = Reader(body);
    let legacy_version = reader.u16()?;
    reader.take(32)?;
    if reader.vector8()?.0.len() > 32 {
        return Err(Invalid::Length);
    }
    let ciphers = reader.vector16()?.u16_list()?;
    let compression = reader.vector8()?;
    if ciphers.is_empty() || compression.0.is_empty() {
        return Err(Invalid::Length);
    }
    let mut hello = ClientHello {
        legacy_version,
        versions: Vec::new(),
        sni: None,
        alpn: Vec::new(),
        ciphers,
        extensions: Vec::new(),
        signature_algorithms: Vec::new(),
        groups: Vec::new(),
        key_shares: Vec::new(),
        ech: false,
        resumption: false,
        ja4: String::new(),
    };
    // TLS 1.2 and older may end here: a hello without any extensions.
    if !reader.0.is_empty() {
        let mut extensions = reader.vector16()?;
        reader.finish()?;
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.vector16()?;
            hello.extensions.push(kind);
            read_extension(&mut hello, kind, content)?;
        }
        refuse_duplicates(&hello.extensions)?;
    }
    hello.ja4 = ja4::fingerprint(&hello);
    Ok(hello)
}

fn refuse_duplicates(extensions: &[u16]) -> Result<(), Invalid> {
    let mut sorted = extensions.to_vec();
    sorted.sort_unstable();
    let repeated = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if repeated { Err(Invalid::DuplicateExtension) } else { Ok(()) }
}

fn read_extension(hello: &mut ClientHello, kind: u16, mut content: Reader<'_>) -> Result<(), Invalid> {
    match kind {
        0x0000 => {
            hello.sni = server_name(content)?;
            return Ok(());
        }
        0x000a => hello.groups = content.vector16()?.u16_list()?,
        0x000d => hello.signature_algorithms = content.vector16()?.u16_list()?,
        0x0010 => hello.alpn = protocols(content.vector16()?)?,
        0x002b => hello.versions = content.vector8()?.u16_list()?,
        0x0033 => hello.key_shares = key_shares(content.vector16()?)?,
        // A ticket of a TLS 1.2 session, or a pre-shared key of TLS 1.3. Their content is opaque here.
        0x0023 => {
            hello.resumption |= !content.0.is_empty();
            return Ok(());
        }
        0x0029 => {
            hello.resumption = true;
            return Ok(());
        }
        0xfe0d => {
            hello.ech = true;
            return Ok(());
        }
        _ => return Ok(()),
    }
    content.finish()
}

fn server_name(mut content: Reader<'_>) -> Result<Option<String>, Invalid> {
    let mut names = content.vector16()?;
    content.finish()?;
    // RFC 6066 allows one name per type, and defines one type.
    if names.u8()? != 0 {
        return Err(Invalid::ServerName);
    }
    let name = names.vector16()?.0;
    if !names.0.is_empty() || name.is_empty() {
        return Err(Invalid::ServerName);
    }
    let name = std::str::from_utf8(name).map_err(|_| Invalid::ServerName)?;
    match crate::host::Host::parse(name) {
        Ok(crate::host::Host::Name(name)) if name.is_ascii() => Ok(Some(name.to_string())),
        // An address may not stand here, but clients send it; servers ignore it, and so do we.
        Ok(_) => Ok(None),
        Err(_) => Err(Invalid::ServerName),
    }
}

fn protocols(mut list: Reader<'_>) -> Result<Vec<Vec<u8>>, Invalid> {
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8()?.0;
        if name.is_empty() {
            return Err(Invalid::Length);
        }
        protocols.push(name.to_vec());
    }
    Ok(protocols)
}

fn key_shares(mut list: Reader<'_>) -> Result<Vec<u16>, Invalid> {
    let mut groups = Vec::new();
    while !list.0.is_empty() {
        groups.push(list.u16()?);
        list.vector16()?;
    }
    Ok(groups)
}
