//! MCP in a stream of server-sent events (WHATWG HTML, section 9.2).

use super::message::{self, Message, Reading};

/// What a stream is, as far as it was handed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// What its messages say, taken together.
    pub message: Option<Message>,
    /// It tells where messages go, as the older transport does.
    pub endpoint: bool,
    /// An event that ended is not MCP's.
    pub other: bool,
    /// Events that ended and held anything.
    pub count: usize,
}

impl Stream {
    #[must_use]
    pub const fn is_mcp(&self) -> bool {
        self.endpoint || self.message.is_some()
    }
}

/// Reads the start of a stream. An event that has not ended says nothing, unless the stream is `whole`.
#[must_use]
pub fn events(bytes: &[u8], whole: bool) -> Stream {
    let mut stream = Stream::default();
    let (mut name, mut data): (&[u8], Vec<u8>) = (b"", Vec::new());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        // What follows the last line end is not a line yet.
        if lines.peek().is_none() && !whole {
            break;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            stream.take(name, &data);
            (name, data) = (b"", Vec::new());
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => name = value,
            b"data" => {
                if !data.is_empty() {
                    data.push(b'\n');
                }
                data.extend_from_slice(value);
            }
            _ => {}
        }
    }
    if whole {
        stream.take(name, &data);
    }
    stream
}

impl Stream {
    fn take(&mut self, name: &[u8], data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.count += 1;
        if name == b"endpoint" {
            self.endpoint |= self.count == 1 && is_address(data);
            return;
        }
        match message::read(data, true) {
            Reading::Mcp(found) => {
                let message = self.message.get_or_insert_default();
                message.methods.extend(found.methods);
                message.tools.extend(found.tools);
                message.client = message.client.take().or(found.client);
                message.server = message.server.take().or(found.server);
                message.version = message.version.take().or(found.version);
            }
            Reading::Other | Reading::Cut => self.other = true,
        }
    }
}

/// An address of the same server: a path, or a whole URL.
fn is_address(data: &[u8]) -> bool {
    let starts = [&b"/"[..], b"http://", b"https://", b"?"];
    data.len() <= 4_096 && starts.iter().any(|start| data.starts_with(start)) && data.iter().all(u8::is_ascii_graphic)
}
