//! Which addresses the gateway refuses to connect to, whatever the policy says.
//!
//! It decides on the very address about to be dialled, after name resolution, so a name that resolves to something
//! else the second time gains nothing. It does not resolve and does not know rules. Invariant: an address is judged by
//! every IPv4 address it carries inside (mapped, 6to4, NAT64, Teredo, ISATAP), and the platform's own listeners are
//! refused unless an entry names exactly that address and port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use ipnet::IpNet;

use crate::host::{Host, HostError};

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("address belongs to this machine (loopback)")]
    Loopback,
    #[error("address is link-local")]
    LinkLocal,
    #[error("address is a cloud metadata service")]
    Metadata,
    #[error("address is unspecified")]
    Unspecified,
    #[error("address is multicast")]
    Multicast,
    #[error("address is broadcast or reserved")]
    Reserved,
    #[error("address is private and private addresses are switched off")]
    Private,
    #[error("address is one of the platform's own listeners")]
    OwnListener,
}

/// An exception to the refusals: `10.1.2.3`, `127.0.0.0/8:8080`, `[::1]/128:443`, `host`, `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Every address in `network`, on one port or on all.
    Network { network: IpNet, port: Option<u16> },
    /// Whatever `host` resolves to, when asked for on that port or on any.
    Host { host: Host, port: Option<u16> },
}

/// Why a text is not an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    #[error("network is not ADDRESS/PREFIX, optionally followed by :PORT")]
    Network,
    #[error("port is not a number from 1 to 65535")]
    Port,
    #[error("host is not valid")]
    Host(#[from] HostError),
}

/// What a guard is made from.
#[derive(Debug, Clone, Default)]
pub struct GuardParams {
    /// Every address the platform listens on; an unspecified one stands for all addresses of this machine.
    pub own_listeners: Vec<SocketAddr>,
    pub allow: Vec<Allow>,
    /// Also refuses private ranges. Off by default: private apps are reached through the gateway.
    pub refuse_private: bool,
}

/// Judges addresses.
pub struct Guard {
    params: GuardParams,
    is_local: fn(IpAddr) -> bool,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("params", &self.params).finish_non_exhaustive()
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(GuardParams::default())
    }
}

impl Guard {
    pub const fn new(params: GuardParams) -> Self {
        Self { params, is_local: is_address_of_this_machine }
    }

    /// Judges dialling `address` for a request to `host` and `port`.
    ///
    /// # Errors
    ///
    /// The first reason that applies and that no exception lifts.
    pub fn check(&self, host: &Host, port: u16, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        if self.is_own_listener(ip, address.port()) && !self.names_exactly(ip, address.port()) {
            return Err(Refusal::OwnListener);
        }
        let Some(refusal) = self.refusal(ip) else { return Ok(()) };
        let allowed = self.params.allow.iter().any(|allow| match allow {
            Allow::Network { network, port } => network.contains(&ip) && port.is_none_or(|port| port == address.port()),
            Allow::Host { host: allowed, port: on } => allowed == host && on.is_none_or(|on| on == port),
        });
        if allowed { Ok(()) } else { Err(refusal) }
    }

    fn refusal(&self, ip: IpAddr) -> Option<Refusal> {
        let private = |ip| self.params.refuse_private.then(|| private(ip)).flatten();
        classify(ip).or_else(|| private(ip)).or_else(|| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(outer) => {
                embedded(outer).find_map(|inner| classify(inner.into()).or_else(|| private(inner.into())))
            }
        })
    }

    fn is_own_listener(&self, ip: IpAddr, port: u16) -> bool {
        let carried: Vec<IpAddr> = match ip {
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(outer) => embedded(outer).map(IpAddr::from).collect(),
        };
        let candidates = || std::iter::once(ip).chain(carried.iter().copied());
        self.params.own_listeners.iter().filter(|listener| listener.port() == port).any(|listener| {
            let bound = listener.ip().to_canonical();
            candidates().any(|ip| {
                // Linux connects an unspecified destination to this machine.
                bound == ip || ip.is_unspecified() || (bound.is_unspecified() && (self.is_local)(ip))
            })
        })
    }

    /// A whole network never opens the console by accident; only the one address on the one port does.
    fn names_exactly(&self, ip: IpAddr, port: u16) -> bool {
        self.params.allow.iter().any(|allow| match allow {
            Allow::Network { network, port: on } => {
                network.prefix_len() == network.max_prefix_len() && network.addr() == ip && *on == Some(port)
            }
            Allow::Host { .. } => false,
        })
    }
}

/// Asks the kernel: an address can be bound only if an interface of this machine has it.
fn is_address_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

fn classify(ip: IpAddr) -> Option<Refusal> {
    match ip {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    }
}

fn classify_v4(ip: Ipv4Addr) -> Option<Refusal> {
    match ip.octets() {
        // AWS, Azure, GCP and most others; Alibaba; Oracle; the Azure host agent.
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Some(Refusal::Metadata),
        // The container credential endpoints of AWS.
        [169, 254, 170, 2 | 23] => Some(Refusal::Metadata),
        [169, 254, ..] => Some(Refusal::LinkLocal),
        [127, ..] => Some(Refusal::Loopback),
        // The whole block means "this network"; Linux connects 0.0.0.0 to loopback.
        [0, ..] => Some(Refusal::Unspecified),
        [224..=239, ..] => Some(Refusal::Multicast),
        [240..=255, ..] => Some(Refusal::Reserved),
        _ => None,
    }
}

fn classify_v6(ip: Ipv6Addr) -> Option<Refusal> {
    if ip.is_unspecified() {
        return Some(Refusal::Unspecified);
    }
    if ip.is_loopback() {
        return Some(Refusal::Loopback);
    }
    match ip.segments() {
        // AWS instance services, GCP, Scaleway.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, ..] | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042] => {
            Some(Refusal::Metadata)
        }
        [0xfe80..=0xfebf, ..] => Some(Refusal::LinkLocal),
        [0xff00..=0xffff, ..] => Some(Refusal::Multicast),
        _ => None,
    }
}

fn private(ip: IpAddr) -> Option<Refusal> {
    let is_private = match ip {
        // The shared address space of carriers is as private as the rest to whoever uses it.
        IpAddr::V4(ip) => ip.is_private() || matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(ip) => matches!(ip.segments()[0], 0xfc00..=0xfdff | 0xfec0..=0xfeff),
    };
    is_private.then_some(Refusal::Private)
}

/// Yields the IPv4 addresses that traffic to an IPv6 address may end up at.
fn embedded(ip: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let octets = ip.octets();
    let at = |start: usize| Ipv4Addr::new(octets[start], octets[start + 1], octets[start + 2], octets[start + 3]);
    let last = at(12);
    let found: [Option<Ipv4Addr>; 3] = match ip.segments() {
        // IPv4-compatible and IPv4-mapped, plain and the stateless-translation form.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => [Some(last), None, None],
        // 6to4: 2002:AABB:CCDD::/48.
        [0x2002, ..] => [Some(at(2)), None, None],
        // Teredo: the server in clear, the client with every bit flipped.
        [0x2001, 0, ..] => [Some(at(4)), Some(Ipv4Addr::from(!u32::from(last))), None],
        // NAT64, well-known prefix.
        [0x0064, 0xff9b, 0, 0, 0, 0, ..] => [Some(last), None, None],
        // NAT64, local-use prefix 64:ff9b:1::/48: RFC 6052 places the address by prefix length, with octet 8 skipped.
        [0x0064, 0xff9b, 1, ..] => [
            last,
            Ipv4Addr::new(octets[6], octets[7], octets[9], octets[10]),
            Ipv4Addr::new(octets[9], octets[10], octets[11], octets[12]),
        ]
        // Only one reading is meant; zero padding read as an address is not one.
        .map(|ip| Some(ip).filter(|ip| ip.octets()[0] != 0)),
        // ISATAP interface identifiers.
        [_, _, _, _, 0 | 0x0200, 0x5efe, ..] => [Some(last), None, None],
        _ => [None, None, None],
    };
    found.into_iter().flatten()
}

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let text = text.trim();
        if let Some((address, rest)) = text.split_once('/') {
            let (prefix, port) = match rest.split_once(':') {
                Some((prefix, port)) => (prefix, Some(parse_port(port)?)),
                None => (rest, None),
            };
            let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
            let network = format!("{address}/{prefix}").parse::<IpNet>().map_err(|_| AllowError::Network)?;
            return Ok(Self::Network { network: network.trunc(), port });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Network {
                network: IpNet::from(address.ip()),
                port: Some(parse_port(&address.port().to_string())?),
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            // A bare IPv6 address has colons of its own.
            Some((host, port)) if !host.contains(':') => (host, Some(parse_port(port)?)),
            _ => (text, None),
        };
        Ok(match Host::parse(host)? {
            Host::Address(address) => Self::Network { network: IpNet::from(address), port },
            host @ Host::Name(_) => Self::Host { host, port },
        })
    }
}

fn parse_port(text: &str) -> Result<u16, AllowError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(AllowError::Port)
}

/// Prints an exception so that it parses back to itself.
impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self {
            Self::Network { network, port } => {
                match network {
                    IpNet::V4(network) => write!(f, "{network}")?,
                    IpNet::V6(network) => write!(f, "[{}]/{}", network.addr(), network.prefix_len())?,
                }
                port
            }
            Self::Host { host, port } => {
                write!(f, "{host}")?;
                port
            }
        };
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::{Allow, AllowError, Guard, GuardParams, Refusal};
    use crate::host::Host;

    fn guard(own: &[&str], allow: &[&str], refuse_private: bool) -> Guard {
        Guard {
            params: GuardParams {
                own_listeners: own.iter().map(|address| address.parse().unwrap()).collect(),
                allow: allow.iter().map(|allow| allow.parse().unwrap()).collect(),
                refuse_private,
            },
            is_local: |ip| ip == "203.0.113.7".parse::<IpAddr>().unwrap() || ip.is_loopback(),
        }
    }

    fn judge(guard: &Guard, address: &str) -> Result<(), Refusal> {
        let address: SocketAddr = address.parse().unwrap();
        guard.check(&Host::parse("site.example").unwrap(), address.port(), address)
    }

    #[test]
    fn every_dangerous_form_is_refused_by_default() {
        let guard = guard(&[], &[], false);
        for (address, expected) in [
            ("93.184.216.34:443", Ok(())),
            ("[2606:2800:220:1::1]:443", Ok(())),
            ("10.0.0.1:443", Ok(())),
            ("192.168.1.1:80", Ok(())),
            ("172.16.9.9:80", Ok(())),
            ("100.64.0.1:80", Ok(())),
            ("[fd12:3456::1]:443", Ok(())),
            ("127.0.0.1:443", Err(Refusal::Loopback)),
            ("127.255.255.254:443", Err(Refusal::Loopback)),
            ("[::1]:443", Err(Refusal::Loopback)),
            ("0.0.0.0:443", Err(Refusal::Unspecified)),
            ("0.1.2.3:443", Err(Refusal::Unspecified)),
            ("[::]:443", Err(Refusal::Unspecified)),
            ("169.254.1.1:80", Err(Refusal::LinkLocal)),
            ("[fe80::1]:80", Err(Refusal::LinkLocal)),
            ("[febf::1]:80", Err(Refusal::LinkLocal)),
            ("169.254.169.254:80", Err(Refusal::Metadata)),
            ("169.254.170.2:80", Err(Refusal::Metadata)),
            ("100.100.100.200:80", Err(Refusal::Metadata)),
            ("192.0.0.192:80", Err(Refusal::Metadata)),
            ("168.63.129.16:80", Err(Refusal::Metadata)),
            ("[fd00:ec2::254]:80", Err(Refusal::Metadata)),
            ("[fd20:ce::254]:80", Err(Refusal::Metadata)),
            ("[fd00:42::42]:80", Err(Refusal::Metadata)),
            ("224.0.0.1:80", Err(Refusal::Multicast)),
            ("239.255.255.250:80", Err(Refusal::Multicast)),
            ("[ff02::1]:80", Err(Refusal::Multicast)),
            ("255.255.255.255:80", Err(Refusal::Reserved)),
            ("240.0.0.1:80", Err(Refusal::Reserved)),
            // The same through every way IPv6 can carry IPv4.
            ("[::ffff:127.0.0.1]:80", Err(Refusal::Loopback)),
            ("[::ffff:169.254.169.254]:80", Err(Refusal::Metadata)),
            ("[::127.0.0.1]:80", Err(Refusal::Loopback)),
            ("[::ffff:0:127.0.0.1]:80", Err(Refusal::Loopback)),
            ("[2002:7f00:1::]:80", Err(Refusal::Loopback)),
            ("[2002:a9fe:a9fe::1]:80", Err(Refusal::Metadata)),
            ("[64:ff9b::7f00:1]:80", Err(Refusal::Loopback)),
            ("[64:ff9b::a9fe:a9fe]:80", Err(Refusal::Metadata)),
            ("[64:ff9b:1::7f00:1]:80", Err(Refusal::Loopback)),
            ("[64:ff9b:1:7f00:0:100::]:80", Err(Refusal::Loopback)),
            ("[2001:0:7f00:1::]:80", Err(Refusal::Loopback)),
            ("[2001:0:4136:e378:8000:63bf:80ff:fffe]:80", Err(Refusal::Loopback)),
            ("[2001:db8::5efe:7f00:1]:80", Err(Refusal::Loopback)),
            ("[2001:db8::200:5efe:7f00:1]:80", Err(Refusal::Loopback)),
            ("[::ffff:93.184.216.34]:80", Ok(())),
            ("[64:ff9b::5db8:d822]:80", Ok(())),
            ("[64:ff9b:1::5db8:d822]:80", Ok(())),
        ] {
            assert_eq!(judge(&guard, address), expected, "{address}");
        }
    }

    #[test]
    fn private_ranges_are_refused_when_switched_off() {
        let guard = guard(&[], &["10.9.0.0/16"], true);
        for (address, expected) in [
            ("10.0.0.1:443", Err(Refusal::Private)),
            ("172.31.255.255:443", Err(Refusal::Private)),
            ("192.168.0.1:443", Err(Refusal::Private)),
            ("100.64.0.1:443", Err(Refusal::Private)),
            ("[fc00::1]:443", Err(Refusal::Private)),
            ("[fec0::1]:443", Err(Refusal::Private)),
            ("[::ffff:10.0.0.1]:443", Err(Refusal::Private)),
            ("[64:ff9b::10.0.0.1]:443", Err(Refusal::Private)),
            ("10.9.1.1:443", Ok(())),
            ("172.32.0.1:443", Ok(())),
            ("93.184.216.34:443", Ok(())),
        ] {
            assert_eq!(judge(&guard, address), expected, "{address}");
        }
    }

    #[test]
    fn exceptions_lift_exactly_what_they_name() {
        let guard = guard(&[], &["127.0.0.1:8443", "127.9.0.0/16", "[::1]/128:8443", "site.example:9000"], false);
        for (address, expected) in [
            ("127.0.0.1:8443", Ok(())),
            ("[::ffff:127.0.0.1]:8443", Ok(())),
            ("127.0.0.1:8444", Err(Refusal::Loopback)),
            ("127.0.0.2:8443", Err(Refusal::Loopback)),
            ("127.9.3.4:1", Ok(())),
            ("[::1]:8443", Ok(())),
            ("[::1]:8444", Err(Refusal::Loopback)),
            ("127.0.0.5:9000", Ok(())),
            // A translated form is another destination; naming the inner address does not open it.
            ("[64:ff9b::7f00:1]:8443", Err(Refusal::Loopback)),
        ] {
            assert_eq!(judge(&guard, address), expected, "{address}");
        }
        let other = Host::parse("other.example").unwrap();
        assert_eq!(guard.check(&other, 9000, "127.0.0.5:9000".parse().unwrap()), Err(Refusal::Loopback));
        // The exception is for the port asked for, wherever an override sends it.
        let site = Host::parse("site.example").unwrap();
        assert_eq!(guard.check(&site, 9000, "127.0.0.5:40001".parse().unwrap()), Ok(()));
    }

    #[test]
    fn own_listeners_are_refused_even_inside_an_allowed_network() {
        let allow = ["127.0.0.0/8", "site.example", "127.0.0.1:9082"];
        let guard = guard(&["127.0.0.1:9080", "0.0.0.0:9081", "127.0.0.1:9082", "[::]:9083"], &allow, false);
        for (address, expected) in [
            ("127.0.0.1:9080", Err(Refusal::OwnListener)),
            ("[::ffff:127.0.0.1]:9080", Err(Refusal::OwnListener)),
            ("[64:ff9b::7f00:1]:9080", Err(Refusal::OwnListener)),
            ("0.0.0.0:9080", Err(Refusal::OwnListener)),
            ("127.0.0.2:9080", Ok(())),
            ("127.0.0.1:9079", Ok(())),
            ("203.0.113.7:9081", Err(Refusal::OwnListener)),
            ("203.0.113.7:9083", Err(Refusal::OwnListener)),
            ("203.0.113.7:9080", Ok(())),
            ("203.0.113.8:9081", Ok(())),
            ("127.3.3.3:9081", Err(Refusal::OwnListener)),
            ("127.0.0.1:9082", Ok(())),
        ] {
            assert_eq!(judge(&guard, address), expected, "{address}");
        }
    }

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        let guard =
            Guard::new(GuardParams { own_listeners: vec!["0.0.0.0:9080".parse().unwrap()], ..Default::default() });
        assert_eq!(judge(&guard, "127.0.0.1:9080"), Err(Refusal::OwnListener));
        assert_eq!(judge(&guard, "192.0.2.1:9080"), Ok(()), "a documentation address is on no interface");
    }

    #[test]
    fn exceptions_print_as_they_parse() {
        for (text, expected) in [
            ("10.1.2.3", Ok("10.1.2.3/32")),
            ("10.1.2.3:80", Ok("10.1.2.3/32:80")),
            ("10.1.2.3/8:80", Ok("10.0.0.0/8:80")),
            ("::1", Ok("[::1]/128")),
            ("[::1]:443", Ok("[::1]/128:443")),
            ("[fd00::]/8:443", Ok("[fd00::]/8:443")),
            ("Site.Example:8080", Ok("site.example:8080")),
            ("site.example", Ok("site.example")),
            ("10.0.0.0/33", Err(AllowError::Network)),
            ("10.0.0.0/8:0", Err(AllowError::Port)),
            ("10.0.0.1:0", Err(AllowError::Port)),
            ("site.example:http", Err(AllowError::Port)),
            ("", Err(AllowError::Host(crate::host::HostError::Empty))),
        ] {
            let parsed = text.parse::<Allow>();
            assert_eq!(parsed.as_ref().map(ToString::to_string), expected.as_ref().map(ToString::to_string), "{text}");
            if let Ok(allow) = parsed {
                assert_eq!(allow.to_string().parse(), Ok(allow));
            }
        }
    }
}
