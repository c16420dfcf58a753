//! The origin's leg: dialled, verified, remembered and reused.
//!
//! What each part decides: [`trust`] whether a certificate is to be believed, [`connect`] how an origin is dialled,
//! [`profile`] what is remembered about it, [`pool`] which connection carries a request. None decides what to do about
//! an untrusted certificate or a failure: both come back as values. Invariant: see the crate's.

mod connect;
mod http1;
mod pool;
mod profile;
mod shape;
mod trust;

pub use connect::{
    CertificatePolicy, ConnectError, Connector, ConnectorParams, DialTimeouts, DialTimings, Dialled, Route, Stage,
    UpstreamConnection, request_for_json,
};
pub use pool::{Body, ConnectionInfo, Exchange, Pool, PoolLimits, PoolStatus, ResponseBody, SendError};
pub use profile::OriginProfile;
pub use trust::{CertificateFacts, InvalidReason, OriginCertificate, TrustError, TrustParams, TrustStore};
