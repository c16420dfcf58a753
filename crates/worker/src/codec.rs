//! Frames between the host and a process: a length, then postcard.
//!
//! Towards the child a frame is `u32 length, message`. From the child it is `u32 length, u32 handled, u64 cpu, messages…`:
//! how many messages the child has finished, and its own CPU clock in microseconds at that point. The host's watchdog
//! rests on these two numbers, and checks them. Invariant: neither side ever holds more than one frame of at most
//! [`MAX_FRAME`] beyond what it has been given.

use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};

use crate::protocol::{FromWorker, MAX_FRAME, ToWorker};

const LENGTH: usize = 4;
const REPORT: usize = 4 + 8;

/// Why bytes are not a frame, or a message does not fit into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame is larger than {MAX_FRAME} bytes")]
    TooLarge,
    #[error("a frame does not decode")]
    Malformed,
}

/// What a frame from the child says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Messages finished since the process started, wrapping.
    pub(crate) handled: u32,
    /// The child's CPU clock in microseconds.
    pub(crate) cpu_us: u64,
}

/// Appends one message for the child.
pub(crate) fn push_to_worker(buffer: &mut Vec<u8>, message: &ToWorker) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH]);
    append(buffer, message).and_then(|()| seal(buffer, start)).inspect_err(|_| buffer.truncate(start))
}

/// Starts a frame for the host; messages follow with [`push_from_worker`] and [`finish_frame`] ends it.
pub(crate) fn start_frame(buffer: &mut Vec<u8>) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH + REPORT]);
    start
}

/// Appends one message for the host. Nothing is appended if it does not fit.
pub(crate) fn push_from_worker(buffer: &mut Vec<u8>, frame: usize, message: &FromWorker) -> Result<(), FrameError> {
    let before = buffer.len();
    append(buffer, message)?;
    if buffer.len() - frame - LENGTH > MAX_FRAME {
        buffer.truncate(before);
        return Err(FrameError::TooLarge);
    }
    Ok(())
}

/// Whether a frame has no message yet.
pub(crate) fn frame_is_empty(buffer: &[u8], frame: usize) -> bool {
    buffer.len() == frame + LENGTH + REPORT
}

/// Fills in the head of the frame that starts at `frame`.
pub(crate) fn finish_frame(buffer: &mut [u8], frame: usize, progress: Progress) {
    let length = u32::try_from(buffer.len() - frame - LENGTH).unwrap_or(u32::MAX);
    let head =
        length.to_le_bytes().into_iter().chain(progress.handled.to_le_bytes()).chain(progress.cpu_us.to_le_bytes());
    for (place, byte) in buffer.iter_mut().skip(frame).zip(head) {
        *place = byte;
    }
}

/// Takes the next whole message out of what the child has read.
pub(crate) fn next_to_worker(buffer: &mut BytesMut) -> Result<Option<ToWorker>, FrameError> {
    let Some(payload) = next_payload(buffer)? else {
        return Ok(None);
    };
    decode_one(&payload).map(|(message, _)| Some(message))
}

/// Takes the next whole frame out of what the host has read and appends its messages with their sizes.
pub(crate) fn next_from_worker(
    buffer: &mut BytesMut,
    messages: &mut Vec<(FromWorker, usize)>,
) -> Result<Option<Progress>, FrameError> {
    let Some(mut payload) = next_payload(buffer)? else {
        return Ok(None);
    };
    if payload.len() < REPORT {
        return Err(FrameError::Malformed);
    }
    let progress = Progress { handled: payload.get_u32_le(), cpu_us: payload.get_u64_le() };
    let mut rest: &[u8] = &payload;
    while !rest.is_empty() {
        let (message, after) = decode_one(rest)?;
        messages.push((message, rest.len() - after.len()));
        rest = after;
    }
    Ok(Some(progress))
}

fn next_payload(buffer: &mut BytesMut) -> Result<Option<BytesMut>, FrameError> {
    let Some(head) = buffer.first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge);
    }
    if buffer.len() < LENGTH + length {
        buffer.reserve(LENGTH + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(LENGTH);
    Ok(Some(buffer.split_to(length)))
}

fn decode_one<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), FrameError> {
    postcard::take_from_bytes(bytes).map_err(|_| FrameError::Malformed)
}

fn append<T: Serialize>(buffer: &mut Vec<u8>, message: &T) -> Result<(), FrameError> {
    let before = buffer.len();
    match postcard::to_extend(message, std::mem::take(buffer)) {
        Ok(extended) => {
            *buffer = extended;
            Ok(())
        }
        // The buffer is gone with the error; only a value that cannot be encoded at all gets here.
        Err(_) => {
            buffer.resize(before, 0);
            Err(FrameError::Malformed)
        }
    }
}

fn seal(buffer: &mut [u8], start: usize) -> Result<(), FrameError> {
    let length = buffer.len() - start - LENGTH;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge);
    }
    let length = u32::try_from(length).map_err(|_| FrameError::TooLarge)?;
    for (place, byte) in buffer.iter_mut().skip(start).zip(length.to_le_bytes()) {
        *place = byte;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::{
        FrameError, Progress, finish_frame, next_from_worker, next_to_worker, push_from_worker, push_to_worker,
        start_frame,
    };
    use crate::protocol::{FromWorker, LogLevel, MAX_FRAME, Operation, ToWorker};

    fn log(message: String) -> FromWorker {
        FromWorker::Log { call: Some(7), level: LogLevel::Warn, message }
    }

    #[test]
    fn messages_survive_any_split_of_the_stream() {
        let mut sent = Vec::new();
        for call in 0..3 {
            push_to_worker(&mut sent, &ToWorker::Cancel { call }).unwrap();
        }
        let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
        for byte in sent {
            buffer.extend_from_slice(&[byte]);
            while let Some(message) = next_to_worker(&mut buffer).unwrap() {
                seen.push(format!("{message:?}"));
            }
        }
        assert_eq!(seen, ["Cancel { call: 0 }", "Cancel { call: 1 }", "Cancel { call: 2 }"]);
    }

    #[test]
    fn a_frame_from_the_child_carries_its_progress_and_every_message() {
        let mut sent = vec![1, 2, 3];
        let frame = start_frame(&mut sent);
        push_from_worker(&mut sent, frame, &log("one".into())).unwrap();
        let chunk = Operation::BodyWrite { body: 1, chunk: vec![9; 70_000], end: true, error: None };
        push_from_worker(&mut sent, frame, &FromWorker::HostCall { call: 1, op: 2, operation: chunk }).unwrap();
        finish_frame(&mut sent, frame, Progress { handled: 5, cpu_us: 77 });
        let mut buffer = BytesMut::from(&sent[3..]);
        let mut messages = Vec::new();
        let progress = next_from_worker(&mut buffer, &mut messages).unwrap();
        assert_eq!(progress, Some(Progress { handled: 5, cpu_us: 77 }));
        assert_eq!(messages.len(), 2);
        assert!(messages[1].1 > 70_000, "sizes are accounted");
        assert!(buffer.is_empty());
    }

    #[test]
    fn oversized_frames_are_refused_on_both_sides() {
        let mut buffer = BytesMut::from(&u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes()[..]);
        assert_eq!(next_from_worker(&mut buffer, &mut Vec::new()), Err(FrameError::TooLarge));
        let mut sent = Vec::new();
        let frame = start_frame(&mut sent);
        let before = sent.len();
        assert_eq!(push_from_worker(&mut sent, frame, &log("x".repeat(MAX_FRAME))), Err(FrameError::TooLarge));
        assert_eq!(sent.len(), before, "what does not fit leaves nothing behind");
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_never_asks_for_more_than_a_frame(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut messages = Vec::new();
            while let Ok(Some(_)) = next_from_worker(&mut buffer, &mut messages) {}
            prop_assert!(buffer.capacity() <= MAX_FRAME * 2);
        }
    }
}
