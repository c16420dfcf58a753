//! Server-sent events (WHATWG HTML, section "Server-sent events"), as MCP streams carry them.
//!
//! It finds the events in bytes as they arrive, and writes them; what a message in one means is the engine's. Invariant:
//! whatever a server sends, no more than one event of the bound given is held.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` where the server names none.
    pub(crate) name: String,
    pub(crate) data: Bytes,
    /// Where to go on after the connection was lost.
    pub(crate) id: Option<String>,
}

/// Why a stream is not read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    #[error("a field of an event is not UTF-8")]
    NotText,
}

/// Longest `id` that is kept; a server that sends more is not resumed.
const MAX_ID: usize = 1_024;

/// Finds events in what a server sends.
#[derive(Debug)]
pub(crate) struct Reader {
    limit: usize,
    pending: BytesMut,
    /// Bytes of `pending` known to hold no end of line.
    searched: usize,
    /// The last line ended with CR; an LF right after it belongs to that end.
    after_return: bool,
    begun: bool,
    name: Option<String>,
    data: BytesMut,
    has_data: bool,
    id: Option<String>,
    retry: Option<u64>,
}

impl Reader {
    /// Reads events of at most `limit` bytes.
    #[must_use]
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            pending: BytesMut::new(),
            searched: 0,
            after_return: false,
            begun: false,
            name: None,
            data: BytesMut::new(),
            has_data: false,
            id: None,
            retry: None,
        }
    }

    /// Returns the last id that was read, of an event or alone.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !id.is_empty())
    }

    /// Returns how long to wait before the connection is made again, in milliseconds, when the server said so.
    pub(crate) fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Takes what arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Returns the next complete event; `None` until more has arrived.
    ///
    /// # Errors
    /// An event beyond the bound, or one that is no text. The reader is of no use after that.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(&line)?;
        }
        Ok(None)
    }

    /// Takes one line out, without its end.
    fn line(&mut self) -> Result<Option<BytesMut>, EventError> {
        if self.after_return && !self.pending.is_empty() {
            if self.pending.first() == Some(&b'\n') {
                let _ = self.pending.split_to(1);
            }
            self.after_return = false;
        }
        let unsearched = self.pending.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr2(b'\n', b'\r', unsearched) else {
            self.searched = self.pending.len();
            if self.searched + self.data.len() > self.limit {
                return Err(EventError::TooLarge(self.limit));
            }
            return Ok(None);
        };
        let mut line = self.pending.split_to(self.searched + found + 1);
        self.searched = 0;
        self.after_return = line.last() == Some(&b'\r');
        line.truncate(line.len() - 1);
        if !self.begun {
            self.begun = true;
            if line.starts_with(b"\xef\xbb\xbf") {
                let _ = line.split_to(3);
            }
        }
        Ok(Some(line))
    }

    fn field(&mut self, line: &[u8]) -> Result<(), EventError> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.data.len() + value.len() > self.limit {
                    return Err(EventError::TooLarge(self.limit));
                }
                if self.has_data {
                    self.data.put_u8(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = Some(text(value)?),
            b"id" if value.len() <= MAX_ID && !value.contains(&0) => self.id = Some(text(value)?),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry = text(value)?.parse().ok();
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = self.name.take();
        let data = self.data.split().freeze();
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "message".to_owned());
        Some(Event { name, data, id: self.id.clone() })
    }
}

fn text(bytes: &[u8]) -> Result<String, EventError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| EventError::NotText)
}

/// Writes an event that carries one message. A message holds no line ends: JSON text needs none between its tokens, and
/// what is passed on from a server is split where it has some.
#[must_use]
pub(crate) fn write(id: Option<&str>, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 48);
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.put_u8(b'\n');
    }
    let mut rest = message;
    loop {
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.put_u8(b'\n');
        match after.get(1..) {
            // CR LF is one end of line.
            Some(next) if after.starts_with(b"\r") => rest = next.strip_prefix(b"\n").unwrap_or(next),
            Some(next) => rest = next,
            None => break,
        }
    }
    out.put_u8(b'\n');
    out.freeze()
}

/// Writes an event without a message: its id alone, and after how many milliseconds a lost connection is made again.
#[must_use]
pub(crate) fn empty(id: &str, retry: Option<u64>) -> Bytes {
    let retry = retry.map_or_else(String::new, |retry| format!("retry: {retry}\n"));
    Bytes::from(format!("id: {id}\n{retry}data: \n\n"))
}

/// Writes what no client reads, so that a connection is not taken for dead.
#[must_use]
pub(crate) fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Event, EventError, Reader, write};

    fn events(reader: &mut Reader) -> Vec<Event> {
        std::iter::from_fn(|| reader.next_event().unwrap()).collect()
    }

    #[test]
    fn events_are_found_whatever_ends_their_lines_and_wherever_they_are_cut() {
        for text in [
            "event: endpoint\ndata: /m?s=1\n\n: a comment\ndata: {\"a\":\ndata: 1}\nid: 7\nretry: 250\n\ndata: last\n\n",
            "event: endpoint\r\ndata: /m?s=1\r\n\r\ndata: {\"a\":\r\ndata: 1}\r\nid: 7\r\nretry: 250\r\n\r\ndata: last\r\n\r\n",
            "\u{feff}event: endpoint\rdata: /m?s=1\r\rdata: {\"a\":\rdata: 1}\rid: 7\rretry: 250\r\rdata: last\r\r",
        ] {
            for step in 1..12 {
                let mut reader = Reader::new(1_000);
                let mut found = Vec::new();
                for piece in text.as_bytes().chunks(step) {
                    reader.push(piece);
                    found.extend(events(&mut reader));
                }
                let plain: Vec<_> = found.iter().map(|e| (e.name.as_str(), &e.data[..], e.id.as_deref())).collect();
                let expected = [
                    ("endpoint", &b"/m?s=1"[..], None),
                    ("message", b"{\"a\":\n1}", Some("7")),
                    ("message", b"last", Some("7")),
                ];
                assert_eq!(plain, expected, "{text:?} in pieces of {step}");
                assert_eq!((reader.last_id(), reader.retry()), (Some("7"), Some(250)));
            }
        }
    }

    #[test]
    fn an_event_beyond_the_bound_ends_the_stream_as_one_line_and_as_many() {
        let mut reader = Reader::new(100);
        reader.push(&[b'x'; 101]);
        assert_eq!(reader.next_event(), Err(EventError::TooLarge(100)));
        let mut reader = Reader::new(100);
        reader.push("data: 0123456789\n".repeat(11).as_bytes());
        assert_eq!(reader.next_event(), Err(EventError::TooLarge(100)));
    }

    #[test]
    fn an_event_without_data_is_none() {
        let mut reader = Reader::new(100);
        reader.push(b"event: ping\n\nid: 1\n\ndata\n\n");
        assert_eq!(events(&mut reader), [Event { name: "message".into(), data: "".into(), id: Some("1".into()) }]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(messages in prop::collection::vec("[ -~\\n]{0,40}", 1..5), step in 1_usize..9) {
            let mut reader = Reader::new(10_000);
            let stream: Vec<u8> =
                messages.iter().flat_map(|message| write(Some("4-1"), message.as_bytes()).to_vec()).collect();
            let mut found = Vec::new();
            for piece in stream.chunks(step) {
                reader.push(piece);
                found.extend(events(&mut reader));
            }
            let found: Vec<String> =
                found.into_iter().map(|event| String::from_utf8(event.data.to_vec()).unwrap()).collect();
            prop_assert_eq!(found, messages);
        }
    }
}
