//! What a Worker reaches that is not HTTP to an origin: KV, service bindings, the admin API, its response cache.
//!
//! The gateway owns none of it. `server` implements [`worker::Host`] for those methods and leaves `fetch` alone; the
//! gateway puts its own `fetch` in front, through the same guarded path that a person's requests take.

use std::sync::Arc;

/// Everything a Worker may ask for except `fetch`.
pub type Services = Arc<dyn worker::Host>;
