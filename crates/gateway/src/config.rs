//! The limits and time-outs of the proxy listener.
//!
//! It holds numbers only and reads no file: `server` fills it. Invariant: every default is a bound that a hostile peer
//! cannot move.

use std::time::Duration;

/// What one gateway listener allows itself to spend.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Client connections open at once, over all sources.
    pub connections: usize,
    /// Client connections open at once from one source address.
    pub connections_per_source: usize,
    /// Bytes of one HTTP/1 request head, and of one HTTP/2 header list.
    pub head_bytes: usize,
    /// Header fields in one head.
    pub header_fields: usize,
    /// From the first byte of a request head to its last.
    pub head_timeout: Duration,
    /// A client connection without a request in progress is closed after this.
    pub idle_timeout: Duration,
    /// A tunnel through which nothing flows is closed after this.
    pub tunnel_idle_timeout: Duration,
    /// How often a tunnel or WebSocket is held against the credentials and rules of the day.
    pub review_interval: Duration,
    /// From CONNECT to the end of the TLS handshake with the client.
    pub handshake_timeout: Duration,
    /// How long the gateway waits for the first bytes inside a tunnel before it treats it as an opaque protocol.
    pub peek_timeout: Duration,
    /// Name resolution, TCP and TLS towards the origin.
    pub connect_timeout: Duration,
    /// From the request sent to the origin to its response head.
    pub response_timeout: Duration,
    /// Bytes of a body read ahead when a verdict hangs on them.
    pub body_head_bytes: usize,
    /// Bytes counted when a verdict hangs on the size of a body that does not declare it.
    pub body_count_bytes: usize,
    /// How long a verdict waits for more of a body than has arrived.
    pub body_head_timeout: Duration,
    /// Concurrent HTTP/2 streams on one client connection.
    pub http2_streams: u32,
    /// How long requests in flight may go on after the listener stops.
    pub drain_timeout: Duration,
    /// Verdicts of Workers kept by `cache`.
    pub verdict_cache_entries: u64,
    /// Failed sign-ins from one source within a minute before the answer is 429.
    pub failures_per_minute: u32,
    /// Requests from loopback without a credential are served as the non-identity user.
    pub trust_loopback: bool,
    /// Adds this pseudonym in `Via` on requests to the origin; none by default.
    pub via: Option<String>,
    /// A `Host` inside a tunnel that differs from the name in CONNECT is refused (domain fronting).
    pub refuse_fronting: bool,
    /// Security events waiting for the server; more are counted and dropped.
    pub event_queue: usize,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 1_024,
            head_bytes: 64 << 10,
            header_fields: 100,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(120),
            tunnel_idle_timeout: Duration::from_secs(8 * 3600),
            review_interval: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(15),
            peek_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(300),
            body_head_bytes: 64 << 10,
            body_count_bytes: 1 << 20,
            body_head_timeout: Duration::from_secs(2),
            http2_streams: 256,
            drain_timeout: Duration::from_secs(20),
            verdict_cache_entries: 10_000,
            failures_per_minute: 20,
            trust_loopback: true,
            via: None,
            refuse_fronting: true,
            event_queue: 4_096,
        }
    }
}
