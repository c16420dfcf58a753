//! What the host and a launcher say to each other: one order, with the program's three streams, and reports.
//!
//! Both ends are ours, so what does not decode ends the launcher.

use std::fmt;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// An order is at most this long; arguments and variables of a server are far less.
const MAX_ORDER: usize = 8 << 20;
/// Standard input, output and error.
const STREAMS: usize = 3;

/// Host to launcher: what to run, and within what.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// The program's own directory; it begins there.
    pub(crate) home: PathBuf,
    pub(crate) read: Vec<PathBuf>,
    pub(crate) write: Vec<PathBuf>,
    pub(crate) limits: Limits,
}

/// What a program and everything it starts may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory of its own, over the whole family.
    pub memory: u64,
    /// Processes of the family.
    pub processes: usize,
    /// Descriptors of one process.
    pub files: u64,
    /// Bytes of one file.
    pub file: u64,
    /// CPU priority, 0 to 19; higher yields more.
    pub niceness: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 2 << 30, processes: 256, files: 4_096, file: 1 << 30, niceness: 10 }
    }
}

/// Launcher to host, one line each.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Started,
    /// It could not be started; why.
    Failed(String),
    Ended(End),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    Exited(i32),
    Signalled(i32),
    /// It was ended for using more memory than it may, in bytes.
    Memory(u64),
    /// It was ended for having more processes than it may.
    Processes(usize),
    /// It was told to end.
    Stopped,
    /// Its launcher was killed, and it with it.
    Lost,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it ended with code {code}"),
            Self::Signalled(signal) => write!(f, "it was killed by signal {signal}"),
            Self::Memory(most) => write!(f, "it was ended for using more than {} MB of memory", most >> 20),
            Self::Processes(most) => write!(f, "it was ended for having more than {most} processes"),
            Self::Stopped => f.write_str("it was told to end"),
            Self::Lost => f.write_str("its launcher was killed"),
        }
    }
}

/// Sends the order, and the program's ends of its streams with it.
pub(crate) fn send(socket: &UnixStream, order: &Order, streams: [BorrowedFd<'_>; STREAMS]) -> io::Result<()> {
    let text = serde_json::to_vec(order).map_err(io::Error::other)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&streams));
    let sent = sendmsg(socket, &[IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent != length.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    io::Write::write_all(&mut &*socket, &text)
}

/// Receives the order.
pub(crate) fn receive(socket: &UnixStream) -> io::Result<(Order, [OwnedFd; STREAMS])> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(STREAMS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut length)], &mut ancillary, flags)?;
    let mut streams = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            streams.extend(fds);
        }
    }
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    let streams: [OwnedFd; STREAMS] = streams.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    if received.bytes != 4 || length > MAX_ORDER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    (&*socket).read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, streams))
}
