//! Every way the gateway itself answers in place of an origin, and the words of each page.
//!
//! Blocks that a rule asked for are in `answer`; these are refusals and failures. Invariant: a page says what happened,
//! which side it happened on and what to do, and never shows an internal error text of ours.

use http::StatusCode;

use crate::events::SecurityEventKind;
use crate::identity::Refusal;
use crate::page::{Page, Side};
use net::proxy::head::HeadFault;

/// A request that ends without an answer from its origin, although no rule blocked it.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Head(HeadFault),
    /// The target is neither absolute nor inside a tunnel, or names no host.
    Target(String),
    Refused(Refusal),
    /// The tunnel was opened for one host and the request inside names another.
    Fronting {
        tunnel: String,
        host: String,
    },
    Loop,
    Guard {
        host: String,
        why: String,
    },
    Resolve {
        host: String,
        why: String,
    },
    Connect {
        host: String,
        why: String,
    },
    ConnectTimeout {
        host: String,
    },
    Tls {
        host: String,
        why: String,
    },
    Untrusted {
        host: String,
        why: String,
    },
    /// The connection broke after the request was sent.
    Broken {
        host: String,
        why: String,
    },
    ResponseTimeout {
        host: String,
    },
    /// The client's own body broke off while a rule waited for it.
    RequestBody,
    /// A rule must know something of the body that cannot be read.
    Unread(&'static str),
    /// Too many connections.
    Busy,
    /// The snapshot names a script or a template that it does not hold.
    Configuration(String),
}

impl Fault {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Head(fault) => StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Target(_) | Self::RequestBody => StatusCode::BAD_REQUEST,
            Self::Refused(Refusal::TooMany) => StatusCode::TOO_MANY_REQUESTS,
            Self::Refused(Refusal::Missing | Refusal::Wrong) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Fronting { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Guard { .. } | Self::Refused(Refusal::Withdrawn) | Self::Unread(_) => StatusCode::FORBIDDEN,
            Self::Resolve { .. } | Self::Connect { .. } | Self::Tls { .. } | Self::Broken { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTimeout { .. } | Self::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Untrusted { .. } => StatusCode::from_u16(526).unwrap_or(StatusCode::BAD_GATEWAY),
            Self::Busy | Self::Configuration(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the word for programs; also what the record names as the reason.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Head(_) => "malformed_request",
            Self::Target(_) => "bad_target",
            Self::Refused(Refusal::Missing) => "proxy_authentication_required",
            Self::Refused(Refusal::Wrong) => "proxy_authentication_failed",
            Self::Refused(Refusal::TooMany) => "too_many_failures",
            Self::Refused(Refusal::Withdrawn) => "access_withdrawn",
            Self::Fronting { .. } => "host_mismatch",
            Self::Loop => "loop",
            Self::Guard { .. } => "address_refused",
            Self::Resolve { .. } => "name_not_resolved",
            Self::Connect { .. } => "origin_unreachable",
            Self::ConnectTimeout { .. } => "connect_timeout",
            Self::Tls { .. } => "origin_tls_failed",
            Self::Untrusted { .. } => "untrusted_certificate",
            Self::Broken { .. } => "origin_broke_off",
            Self::ResponseTimeout { .. } => "response_timeout",
            Self::RequestBody => "request_body_broke_off",
            Self::Unread(_) => "body_not_readable",
            Self::Busy => "busy",
            Self::Configuration(_) => "configuration",
        }
    }

    /// Says whether the request had not left yet, so that its origin cannot have seen any of it.
    pub(crate) const fn is_before_sending(&self) -> bool {
        matches!(
            self,
            Self::Target(_)
                | Self::Guard { .. }
                | Self::Resolve { .. }
                | Self::Connect { .. }
                | Self::ConnectTimeout { .. }
                | Self::Tls { .. }
                | Self::Untrusted { .. }
                | Self::Busy
        )
    }

    /// Says whether the gateway refused, rather than something failing.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Head(_)
                | Self::Target(_)
                | Self::Refused(_)
                | Self::Fronting { .. }
                | Self::Loop
                | Self::Guard { .. }
                | Self::Unread(_)
                | Self::Configuration(_)
                | Self::Busy
        )
    }

    /// Returns the security event that goes with it, if one does.
    pub(crate) const fn event(&self) -> Option<SecurityEventKind> {
        if matches!(self, Self::Head(_) | Self::Fronting { .. }) {
            Some(SecurityEventKind::MalformedRequest)
        } else if matches!(self, Self::Refused(Refusal::Wrong | Refusal::TooMany)) {
            Some(SecurityEventKind::AuthenticationFailed)
        } else if matches!(self, Self::Guard { .. }) {
            Some(SecurityEventKind::GuardRefused)
        } else if matches!(self, Self::Untrusted { .. }) {
            Some(SecurityEventKind::UntrustedCertificate)
        } else {
            None
        }
    }

    /// Returns after how many seconds trying again may help.
    pub(crate) const fn retry_after(&self) -> Option<&'static str> {
        if matches!(self, Self::Refused(Refusal::TooMany)) {
            Some("60")
        } else if matches!(self, Self::Busy) {
            Some("1")
        } else {
            None
        }
    }

    /// Says what happened in one sentence.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Head(fault) => format!("The request is not well formed: {fault}."),
            Self::Target(why) => format!("The request does not say where it goes: {why}."),
            Self::Refused(Refusal::Missing) => "This proxy needs to know who you are.".to_owned(),
            Self::Refused(Refusal::Wrong) => "The proxy credentials that were sent are not valid.".to_owned(),
            Self::Refused(Refusal::TooMany) => {
                "Too many wrong proxy credentials came from your address within a minute.".to_owned()
            }
            Self::Refused(Refusal::Withdrawn) => {
                "The proxy credentials or the address that opened this connection are not accepted any more.".to_owned()
            }
            Self::Fronting { tunnel, host } => format!(
                "The connection was opened for {tunnel}, and the request inside it asks for {host}. The gateway does \
                 not let one name stand in for another."
            ),
            Self::Loop => "The request has already passed through this gateway.".to_owned(),
            Self::Guard { host, why } => format!("The gateway does not connect to {host}: {why}."),
            Self::Resolve { host, why } => format!("The name {host} could not be resolved: {why}."),
            Self::Connect { host, why } => format!("The gateway could not connect to {host}: {why}."),
            Self::ConnectTimeout { host } => format!("{host} did not accept a connection in time."),
            Self::Tls { host, why } => format!("No secure connection to {host} came about: {why}."),
            Self::Untrusted { host, why } => format!("The certificate of {host} cannot be trusted: {why}."),
            Self::Broken { host, why } => format!("{host} broke off before it had answered: {why}."),
            Self::ResponseTimeout { host } => format!("{host} accepted the request and did not answer in time."),
            Self::RequestBody => "The request body broke off before it was complete.".to_owned(),
            Self::Unread(why) => format!("A rule must know what this request asks for, and {why}."),
            Self::Busy => "The gateway has as many connections open as it accepts.".to_owned(),
            Self::Configuration(why) => format!("A rule cannot be carried out: {why}."),
        }
    }

    fn words(&self) -> (&'static str, Side, &'static str) {
        match self {
            Self::Head(_) => (
                "The request was refused",
                Side::Client,
                "Check the program that sent it. A request that can be read in two ways is refused, because it could \
                 carry another one past the rules.",
            ),
            Self::Target(_) => (
                "The request has no destination",
                Side::Client,
                "This port is a proxy, not a web site: set it as the HTTP and HTTPS proxy of your program.",
            ),
            Self::Refused(Refusal::TooMany) => {
                ("Too many failed sign-ins", Side::Client, "Wait a minute, then send the right credentials.")
            }
            Self::Refused(_) => (
                "Proxy sign-in needed",
                Side::Client,
                "Use your e-mail address as user name and your proxy token as password. Your administrator gives you \
                 a token.",
            ),
            Self::Fronting { .. } => (
                "Host names do not agree",
                Side::Client,
                "Reload the page. If it stays, the program hides its destination, and your administrator can allow it.",
            ),
            Self::Loop => ("Proxy loop", Side::Gateway, "Check that no proxy sends requests back to this gateway."),
            Self::Guard { .. } => (
                "Destination not allowed",
                Side::Policy,
                "Addresses of the gateway itself, of local services and of cloud metadata are refused. An \
                 administrator can put a destination on the allow list.",
            ),
            Self::Resolve { .. } => (
                "Site not found",
                Side::Origin,
                "Check the spelling of the address. If it is right, try again later: the name service may be down.",
            ),
            Self::Connect { .. } => (
                "Site not reachable",
                Side::Origin,
                "Try again later. If others can reach it, tell your administrator.",
            ),
            Self::ConnectTimeout { .. } | Self::ResponseTimeout { .. } => {
                ("The site takes too long", Side::Origin, "Try again later.")
            }
            Self::Tls { .. } => (
                "Secure connection failed",
                Side::Origin,
                "Tell the people who run the site. If it needs a certificate of your own, ask your administrator not \
                 to inspect it.",
            ),
            Self::Untrusted { .. } => (
                "Untrusted certificate",
                Side::Origin,
                "Do not enter anything there. The people who run the site can repair its certificate; for a site of \
                 your own organisation an administrator can add its authority or a rule that passes it through.",
            ),
            Self::Broken { .. } => ("The site broke off", Side::Origin, "Try again."),
            Self::RequestBody => ("Upload broke off", Side::Client, "Send the request again."),
            Self::Unread(_) => (
                "This request could not be checked",
                Side::Policy,
                "Send a shorter message without compression, or write to your administrator and quote the request \
                 number below.",
            ),
            Self::Busy => ("Gateway busy", Side::Gateway, "Try again in a moment."),
            Self::Configuration(_) => (
                "A rule cannot be carried out",
                Side::Gateway,
                "Tell your administrator, who finds the rule in the log.",
            ),
        }
    }

    /// Writes the page of this fault.
    pub(crate) fn page(&self, request_id: &str, details: Vec<(&'static str, String)>) -> Page {
        let (title, side, advice) = self.words();
        Page {
            status: self.status(),
            code: self.code(),
            title: title.to_owned(),
            what: self.what(),
            side,
            advice: advice.to_owned(),
            request_id: request_id.to_owned(),
            details,
        }
    }
}
