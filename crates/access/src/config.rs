//! The limits and time-outs of the access listener.
//!
//! It holds numbers only and reads no file: `server` fills it. Invariant: every default is a bound that a hostile peer
//! cannot move.

use std::time::Duration;

/// What one access listener allows itself to spend.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// The port people reach the listener at; it stands in every address they are sent to.
    pub public_port: u16,
    /// Client connections open at once, over all sources.
    pub connections: usize,
    /// Client connections open at once from one source address.
    pub connections_per_source: usize,
    /// Bytes of one request head.
    pub head_bytes: usize,
    /// Header fields in one head.
    pub header_fields: usize,
    /// From the first byte of a request head to its last.
    pub head_timeout: Duration,
    /// A connection without a request in progress is closed after this.
    pub idle_timeout: Duration,
    /// A WebSocket through which nothing flows is closed after this.
    pub tunnel_idle_timeout: Duration,
    /// From the first byte of a connection to the end of its TLS handshake.
    pub handshake_timeout: Duration,
    /// From the request sent to the application to its response head.
    pub response_timeout: Duration,
    /// One answer of an identity provider, head and body.
    pub provider_timeout: Duration,
    /// Concurrent HTTP/2 streams on one connection.
    pub http2_streams: u32,
    /// How long requests in flight may go on after the listener stops.
    pub drain_timeout: Duration,
    /// Sessions held at once; a sign-in beyond it is refused.
    pub sessions: usize,
    /// Wrong passwords from one source, and for one address, within a minute before the answer is 429.
    pub failures_per_minute: u32,
    /// Sign-ins that one source may begin within a minute before the answer is 429.
    pub sign_ins_per_minute: u32,
    /// Tokens of managed OAuth that nobody knows, from one source within a minute, before the answer is 429.
    pub unknown_tokens_per_minute: u32,
    /// Grants of managed OAuth held at once; the tokens of one beyond it are looked up in the store.
    pub agent_grants: usize,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            public_port: 443,
            connections: 10_000,
            connections_per_source: 1_024,
            head_bytes: 64 << 10,
            header_fields: 100,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(120),
            tunnel_idle_timeout: Duration::from_secs(3_600),
            handshake_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(300),
            provider_timeout: Duration::from_secs(10),
            http2_streams: 256,
            drain_timeout: Duration::from_secs(20),
            sessions: 1_000_000,
            failures_per_minute: 10,
            sign_ins_per_minute: 120,
            unknown_tokens_per_minute: 60,
            agent_grants: 100_000,
        }
    }
}
