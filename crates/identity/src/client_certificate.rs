//! Whether the certificate a client showed counts at a host (RFC 5280 section 6; reference section 2.8).
//!
//! Decides over the authorities of one host and no other. That the client holds the key was proved by the handshake; this
//! is about everything else: who signed, for what use, in which time. Invariant: a certificate counts only while a path
//! leads from it to an authority of that very host, and a name that policies could read in two ways is none at all.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::extensions::ParsedExtension;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::certificate::{Authority, ClientAuthorities};
use crate::identity::ClientCertificate;
use crate::service_token::ClientId;

/// Longest common name that counts, in bytes; RFC 5280 appendix A.1 allows 64 characters.
const MAX_COMMON_NAME: usize = 128;
/// Longest distinguished name that is told, in bytes. A part of one could be read as another, so a longer one is not.
const MAX_NAME: usize = 512;
/// Longest serial number and key identifier that are told, in bytes.
const MAX_NUMBER: usize = 32;

/// The authorities that are believed at one host.
#[derive(Debug)]
pub struct HostAuthorities {
    anchors: Vec<Anchor>,
}

#[derive(Debug)]
struct Anchor {
    anchor: TrustAnchor<'static>,
    expires: i64,
}

/// What a certificate amounts to, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub outcome: Result<ClientCertificate, CertificateFault>,
    /// Seconds since the epoch: before it the same authorities come to the same outcome.
    pub until: i64,
}

/// Why a certificate does not count. The text is for a help desk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("it cannot be read")]
    Unreadable,
    #[error("no authority of this host signed it")]
    UnknownAuthority,
    #[error("every authority of this host has expired")]
    ExpiredAuthority,
    #[error("it, or one it hangs on, expired on {0}")]
    Expired(String),
    #[error("it, or one it hangs on, is not valid before {0}")]
    NotYetValid(String),
    #[error("it is not made for clients (extended key usage clientAuth)")]
    NotForClients,
    #[error("it is an authority itself")]
    Authority,
    #[error("it has more than one common name, or one that is no text")]
    AmbiguousName,
    #[error("its common name has the form of a service token's client id")]
    ServiceTokenName,
    #[error("{0}")]
    Other(String),
}

impl HostAuthorities {
    /// Takes what an administrator uploaded for the host.
    #[must_use]
    pub fn of<'a>(uploaded: impl IntoIterator<Item = &'a ClientAuthorities>) -> Self {
        let authorities = uploaded.into_iter().flat_map(|uploaded| &uploaded.authorities);
        let anchors = authorities.filter_map(|Authority { der, expires, .. }| {
            // What cannot be an anchor was refused when it was uploaded.
            let anchor = webpki::anchor_from_trusted_cert(&CertificateDer::from(der.as_slice())).ok()?.to_owned();
            Some(Anchor { anchor, expires: expires.as_second() })
        });
        Self { anchors: anchors.collect() }
    }

    /// Returns the names of the authorities for the request in the handshake: the content of each X.509 `Name`.
    #[must_use]
    pub fn subjects(&self) -> Vec<Vec<u8>> {
        self.anchors.iter().map(|anchor| anchor.anchor.subject.to_vec()).collect()
    }

    /// Judges what a client showed: its certificate first, then those that lead to an authority.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Judgement {
        let now = now.as_second();
        Judgement { outcome: self.outcome(chain, now), until: self.until(chain, now) }
    }

    fn outcome(&self, chain: &[CertificateDer<'_>], now: i64) -> Result<ClientCertificate, CertificateFault> {
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateFault::Unreadable)?;
        let live = self.anchors.iter().filter(|anchor| now <= anchor.expires);
        let live: Vec<TrustAnchor<'_>> = live.map(|anchor| anchor.anchor.clone()).collect();
        if live.is_empty() {
            return Err(CertificateFault::ExpiredAuthority);
        }
        let certificate = EndEntityCert::try_from(leaf).map_err(fault)?;
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.max(0).unsigned_abs()));
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let usage = KeyUsage::client_auth();
        certificate.verify_for_usage(algorithms, &live, intermediates, time, usage, None, None).map_err(fault)?;
        facts(leaf)
    }

    /// Returns the first moment at which a certificate or authority begins or ends to be valid.
    fn until(&self, chain: &[CertificateDer<'_>], now: i64) -> i64 {
        let certificates = chain.iter().filter_map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let validity = certificate.validity();
            Some([validity.not_before.timestamp(), validity.not_after.timestamp().saturating_add(1)])
        });
        let authorities = self.anchors.iter().map(|anchor| anchor.expires.saturating_add(1));
        certificates.flatten().chain(authorities).filter(|moment| *moment > now).min().unwrap_or(i64::MAX)
    }
}

/// Reads what policies, tokens and records tell of a certificate that counts.
fn facts(der: &[u8]) -> Result<ClientCertificate, CertificateFault> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateFault::Unreadable)?;
    let subject = certificate.subject();
    let mut names = subject.iter_common_name();
    // A policy that excludes a name must not be passed by a certificate that has another one beside it.
    let common_name = match (names.next(), names.next()) {
        (None, _) => None,
        (Some(name), None) => {
            let text =
                name.as_str().ok().filter(|text| text.len() <= MAX_COMMON_NAME && !text.chars().any(char::is_control));
            Some(text.ok_or(CertificateFault::AmbiguousName)?.to_owned())
        }
        (Some(_), Some(_)) => return Err(CertificateFault::AmbiguousName),
    };
    // Tokens hold both under `common_name`; applications could not tell one from the other.
    if common_name.as_deref().is_some_and(|name| name.parse::<ClientId>().is_ok()) {
        return Err(CertificateFault::ServiceTokenName);
    }
    let issuer_ski = certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(issuer) = extension.parsed_extension() else { return None };
        issuer.key_identifier.as_ref().map(|id| upper_hex(id.0))
    });
    let validity = certificate.validity();
    Ok(ClientCertificate {
        common_name,
        subject_dn: distinguished_name(subject),
        issuer_dn: distinguished_name(certificate.issuer()),
        issuer_ski,
        serial: upper_hex(certificate.raw_serial()),
        fingerprint: digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// Writes a name as the vendor does: RFC 4514, the most specific part first, with a blank after each comma. What a value
/// holds is escaped, so that it cannot pass for a part of its own.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts = name.iter_rdn().map(|part| {
        let values = part.iter().map(|attribute| {
            let oid = attribute.attr_type();
            let kind = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
            match attribute.as_str() {
                Ok(text) => format!("{kind}={}", escaped(text)),
                Err(_) => format!("{kind}=#{}", upper_hex(attribute.as_slice())),
            }
        });
        values.collect::<Vec<_>>().join("+")
    });
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    let text = parts.join(", ");
    if text.len() > MAX_NAME { String::new() } else { text }
}

/// RFC 4514 section 2.4.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=')
            || (character == ' ' && (index == 0 || index == last))
            || (character == '#' && index == 0);
        if character.is_control() {
            let mut bytes = [0; 4];
            text.extend(character.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\{byte:02X}")));
            continue;
        }
        if special {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().take(MAX_NUMBER).map(|byte| format!("{byte:02X}")).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows")]
fn fault(error: webpki::Error) -> CertificateFault {
    use webpki::Error;
    let day = |time: UnixTime| {
        let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        time.strftime("%Y-%m-%d %H:%M UTC").to_string()
    };
    match error {
        Error::CertExpired { not_after, .. } => CertificateFault::Expired(day(not_after)),
        Error::CertNotValidYet { not_before, .. } => CertificateFault::NotYetValid(day(not_before)),
        // An authority that bears the name of ours and has another key.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => CertificateFault::UnknownAuthority,
        Error::RequiredEkuNotFoundContext(_) => CertificateFault::NotForClients,
        Error::CaUsedAsEndEntity => CertificateFault::Authority,
        Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateFault::Unreadable,
        other => CertificateFault::Other(format!("it does not hold up: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pki_types::CertificateDer;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    };
    use types::CertificateId;

    use super::{CertificateFault, HostAuthorities, Judgement};
    use crate::certificate::{CertificateDocument, ClientAuthorities};

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        der: CertificateDer<'static>,
        pem: String,
    }

    fn during(params: &mut CertificateParams, from: i64, to: i64) {
        params.not_before = time::OffsetDateTime::from_unix_timestamp(from).unwrap();
        params.not_after = time::OffsetDateTime::from_unix_timestamp(to).unwrap();
    }

    fn authority(name: &str, signed_by: Option<&Authority>, end: i64) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        during(&mut params, NOW - 10 * DAY, end);
        let certificate = match signed_by {
            None => params.self_signed(&key),
            Some(above) => params.signed_by(&key, &above.issuer),
        };
        let certificate = certificate.unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Authority { issuer: Issuer::new(params, key), der, pem }
    }

    fn client(signed_by: &Authority, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "laptop-7");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(vec![0x0a, 0xbc].into());
        during(&mut params, NOW - DAY, NOW + DAY);
        change(&mut params);
        params.signed_by(&key, &signed_by.issuer).unwrap().der().clone()
    }

    fn believed(authorities: &[&Authority]) -> HostAuthorities {
        let uploaded: Vec<ClientAuthorities> = authorities
            .iter()
            .map(|authority| {
                let document = CertificateDocument {
                    name: "Devices".to_owned(),
                    certificate: authority.pem.clone(),
                    associated_hostnames: vec!["wiki.example.test".to_owned()],
                };
                ClientAuthorities::parse(CertificateId(uuid::Uuid::nil()), &document).unwrap()
            })
            .collect();
        HostAuthorities::of(&uploaded)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_certificate_of_an_authority_of_the_host_counts_with_its_facts() {
        let root = authority("Devices CA", None, NOW + 100 * DAY);
        let leaf = client(&root, |_| {});
        let Judgement { outcome, until } = believed(&[&root]).judge(std::slice::from_ref(&leaf), at(NOW));
        let facts = outcome.unwrap();
        assert_eq!(facts.common_name.as_deref(), Some("laptop-7"));
        assert_eq!((facts.subject_dn.as_str(), facts.issuer_dn.as_str()), ("CN=laptop-7", "CN=Devices CA"));
        assert_eq!((facts.not_before, facts.not_after), (NOW - DAY, NOW + DAY));
        assert_eq!(facts.serial, "0ABC");
        assert_eq!(facts.fingerprint.len(), 64);
        assert!(facts.issuer_ski.is_some_and(|id| id.len() == 40 && id == id.to_uppercase()));
        assert_eq!(until, NOW + DAY + 1);
    }

    #[test]
    fn no_part_of_a_name_passes_for_another() {
        let root = authority("Devices CA", None, NOW + 100 * DAY);
        let name = |organisation: &str| {
            let leaf = client(&root, |params| params.distinguished_name.push(DnType::OrganizationName, organisation));
            believed(&[&root]).judge(&[leaf], at(NOW)).outcome.unwrap().subject_dn
        };
        assert_eq!(name("Acme"), "O=Acme, CN=laptop-7");
        assert_eq!(name("x, OU=Admins + y"), r"O=x\, OU\=Admins \+ y, CN=laptop-7");
        assert_eq!(name("#1 \u{1}\\ "), r"O=\#1 \01\\\ , CN=laptop-7");
        assert_eq!(name(&"x".repeat(600)), "", "a part of a name could be read as another");
    }

    #[test]
    fn what_does_not_count_says_why() {
        let root = authority("Devices CA", None, NOW + 100 * DAY);
        let namesake = authority("Devices CA", None, NOW + 100 * DAY);
        let stranger = authority("Other CA", None, NOW + 100 * DAY);
        let old = authority("Old CA", None, NOW - 1);
        let token = "0123456789abcdef0123456789abcdef.access";
        let named = |name: &'static str| {
            move |params: &mut CertificateParams| {
                params.distinguished_name.push(DnType::CommonName, name);
            }
        };
        let day = |second: i64| at(second).strftime("%Y-%m-%d %H:%M UTC").to_string();
        for (what, leaf, by, expected) in [
            ("another authority", client(&stranger, |_| {}), &root, CertificateFault::UnknownAuthority),
            ("one with the same name", client(&namesake, |_| {}), &root, CertificateFault::UnknownAuthority),
            (
                "expired",
                client(&root, |params| during(params, NOW - 3 * DAY, NOW - DAY)),
                &root,
                CertificateFault::Expired(day(NOW - DAY)),
            ),
            (
                "not yet valid",
                client(&root, |params| during(params, NOW + DAY, NOW + 3 * DAY)),
                &root,
                CertificateFault::NotYetValid(day(NOW + DAY)),
            ),
            (
                "of a server",
                client(&root, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                &root,
                CertificateFault::NotForClients,
            ),
            ("the authority itself", root.der.clone(), &root, CertificateFault::Authority),
            ("of an expired authority", client(&old, |_| {}), &old, CertificateFault::ExpiredAuthority),
            ("named like a service token", client(&root, named(token)), &root, CertificateFault::ServiceTokenName),
            ("no certificate", CertificateDer::from(vec![0x30, 0]), &root, CertificateFault::Unreadable),
        ] {
            let judged = believed(&[by]).judge(&[leaf], at(NOW));
            assert_eq!(judged.outcome, Err(expected), "{what}");
        }
        assert_eq!(believed(&[&root]).judge(&[], at(NOW)).outcome, Err(CertificateFault::Unreadable));
        assert_eq!(
            believed(&[]).judge(&[client(&root, |_| {})], at(NOW)).outcome,
            Err(CertificateFault::ExpiredAuthority)
        );
    }

    #[test]
    fn intermediates_that_the_client_sends_lead_to_an_authority_of_the_host() {
        let root = authority("Root", None, NOW + 100 * DAY);
        let middle = authority("Middle", Some(&root), NOW + 2 * DAY);
        let leaf = client(&middle, |params| during(params, NOW - DAY, NOW + 50 * DAY));
        let believed_root = believed(&[&root]);
        let whole = [leaf.clone(), middle.der.clone()];
        let judged = believed_root.judge(&whole, at(NOW));
        assert!(judged.outcome.is_ok());
        assert_eq!(judged.until, NOW + 2 * DAY + 1, "the intermediate ends first");
        assert!(matches!(believed_root.judge(&whole, at(judged.until)).outcome, Err(CertificateFault::Expired(_))));
        let alone = believed_root.judge(std::slice::from_ref(&leaf), at(NOW));
        assert_eq!(alone.outcome, Err(CertificateFault::UnknownAuthority));
        // An intermediate may be what is believed.
        assert!(believed(&[&middle]).judge(&[leaf], at(NOW)).outcome.is_ok());
    }

    #[test]
    fn a_judgement_holds_until_the_moment_it_names_and_not_after() {
        let root = authority("Devices CA", None, NOW + 100 * DAY);
        let leaf = client(&root, |params| during(params, NOW + DAY, NOW + 3 * DAY));
        let authorities = believed(&[&root]);
        let mut moment = NOW;
        let mut seen = Vec::new();
        for _ in 0..3 {
            let judged = authorities.judge(std::slice::from_ref(&leaf), at(moment));
            let last = authorities.judge(std::slice::from_ref(&leaf), at(judged.until.min(NOW + 200 * DAY) - 1));
            assert_eq!(judged.outcome, last.outcome);
            seen.push(judged.outcome.is_ok());
            moment = judged.until;
        }
        assert_eq!(seen, [false, true, false]);
    }
}
