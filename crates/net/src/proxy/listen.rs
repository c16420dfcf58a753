//! The listener of a plane: takes connections until it is told to stop, then lets what is in flight finish.
//!
//! Which connections are admitted and how they are served is the plane's. Invariant: when [`listen`] returns, every task
//! has ended.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::serve::Tasks;
use crate::transport;

/// The wait after an accept that failed, most likely for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands each connection on `listener` to `admit` until `stop`; `admit` serves it as one of `tasks`. Those in flight then
/// have `drain` to finish, and are ended.
pub async fn listen(
    listener: TcpListener,
    stop: &CancellationToken,
    tasks: &Tasks,
    drain: Duration,
    admit: impl Fn(TcpStream, SocketAddr),
) {
    // A connection takes over what its listener has. Set later it is too late for part of it: a connection that began under
    // BBR is paced under every other algorithm too.
    let inherited =
        listener.local_addr().is_ok_and(|own| transport::is_local(own) && transport::tune(&listener, own).is_ok());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, source)) => {
                if !inherited {
                    // What cannot be set is only slower.
                    let _ = transport::tune(&stream, source);
                }
                admit(stream, source);
            }
            // Out of file descriptors or a connection gone before it was taken: neither ends the listener.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // The port is free before the drain starts.
    drop(listener);
    tasks.tracker.close();
    if tokio::time::timeout(drain, tasks.tracker.wait()).await.is_err() {
        tasks.kill.cancel();
        tasks.tracker.wait().await;
    }
}
