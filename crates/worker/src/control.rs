//! The channel between the host and the zygote: one datagram per message, at most one file descriptor with it.
//!
//! Both ends are ours, so a message that does not decode ends the channel.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sandbox::Landlock;

const MAX_MESSAGE: usize = 1024;

/// Host to zygote; comes with the child's end of the socket pair.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fork {
    pub(crate) serial: u64,
    /// Address space beyond what the zygote itself has, in bytes.
    pub(crate) memory_bytes: u64,
}

/// Zygote to host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The engine is warm and the zygote has locked itself down.
    Ready {
        landlock: Landlock,
    },
    /// The zygote gives up; the text says why.
    Failed {
        message: String,
    },
    /// Comes with the child's pidfd.
    Forked {
        serial: u64,
        pid: i32,
    },
    ForkFailed {
        serial: u64,
        message: String,
    },
    Ended {
        serial: u64,
        end: End,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Exited(i32),
    Signalled(i32),
}

/// Sends one message; the descriptor, if any, travels with it.
pub(crate) fn send<T: Serialize>(socket: impl AsFd, message: &T, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message. `Ok(None)` is the end of the channel.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = [0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fd = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            fd = fds.last();
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let message = bytes.get(..received.bytes).and_then(|bytes| postcard::from_bytes(bytes).ok());
    message.map(|message| Some((message, fd))).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}
