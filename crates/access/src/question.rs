//! What a Worker is told of a caller: `AccessQuestion` of `portunus.d.ts`.
//!
//! One text for every occasion, so that a script is tried with what it is asked in earnest. Invariant: groups and
//! claims stand under the provider that made them, and of a client certificate that does not count nothing is told but why.

use std::net::IpAddr;

use identity::identity::{ClientCertificate, Identity};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use types::{AccountId, ApplicationId, ServiceTokenId};
use uuid::Uuid;

/// What a caller is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    SignIn,
    Request,
    /// A client of managed OAuth gets tokens.
    Grant,
    /// The launcher shows a tile.
    Launcher,
}

/// The client certificate of a connection, or why it does not count; `None`: there is none.
type Certificate<'a> = Option<Result<&'a ClientCertificate, &'a str>>;

/// A caller at an application.
#[derive(Debug)]
pub struct Question<'a> {
    pub phase: Phase,
    /// Somebody tries policies: nobody is about to enter.
    pub test: bool,
    pub id: Uuid,
    pub account: AccountId,
    /// `None`: policies of no application are tried.
    pub application: Option<(ApplicationId, &'a str)>,
    /// Whoever signed in; nobody has for a program.
    pub identity: Option<&'a Identity>,
    /// The service token's id and client id.
    pub service_token: Option<(ServiceTokenId, String)>,
    /// Method, URL and header fields; `None` where there is no application.
    pub request: Option<Value>,
    pub source: IpAddr,
    pub country: Option<&'a str>,
    pub certificate: Certificate<'a>,
}

impl Question<'_> {
    /// Writes the question.
    #[must_use]
    pub fn write(&self) -> Value {
        json!({
            "phase": self.phase,
            "test": self.test,
            "requestId": self.id,
            "accountId": self.account,
            "application": self.application.map(|(id, name)| json!({"id": id, "name": name})),
            "identity": self.identity.map(person),
            "serviceToken": self.service_token.as_ref().map(|(id, client)| json!({"id": id, "clientId": client})),
            "request": self.request,
            "source": {"ip": self.source},
            "country": self.country,
            "tlsClientAuth": certificate(self.certificate),
            "device": null,
            "risk": null,
        })
    }
}

/// What is known of a person. Groups and claims stand under the provider that made them, so that a script takes none for
/// another's.
fn person(identity: &Identity) -> Value {
    let steps = identity.steps.iter().map(|step| {
        let groups = step.groups.iter().map(|group| json!({"id": group.id, "name": group.name, "email": group.email}));
        let mut claims: Map<String, Value> = Map::new();
        for claim in &step.claims {
            if let Value::Array(values) = claims.entry(claim.0.to_string()).or_insert_with(|| json!([])) {
                values.push(json!(claim.1));
            }
        }
        json!({"provider": step.provider, "groups": groups.collect::<Vec<_>>(), "claims": claims})
    });
    json!({
        "id": identity.user,
        "email": identity.email,
        "name": identity.name,
        "provider": {"id": identity.provider, "type": identity.provider_type},
        "steps": steps.collect::<Vec<_>>(),
        "amr": identity.amr,
        "signedIn": identity.signed_in,
    })
}

/// The names and forms of the vendor's `request.cf.tlsClientAuth`.
fn certificate(certificate: Certificate<'_>) -> Value {
    let verified = match certificate {
        None => "NONE".to_owned(),
        Some(Ok(_)) => "SUCCESS".to_owned(),
        Some(Err(fault)) => format!("FAILED:{fault}"),
    };
    let known = certificate.and_then(Result::ok);
    let text = |member: fn(&ClientCertificate) -> &str| known.map_or("", member);
    let moment = |member: fn(&ClientCertificate) -> i64| {
        let moment = known.and_then(|known| Timestamp::from_second(member(known)).ok());
        moment.map(|moment| moment.strftime("%b %e %H:%M:%S %Y GMT").to_string()).unwrap_or_default()
    };
    json!({
        "certPresented": if certificate.is_some() { "1" } else { "0" },
        "certVerified": verified,
        "certSubjectDN": text(|known| &known.subject_dn),
        "certIssuerDN": text(|known| &known.issuer_dn),
        "certIssuerSKI": text(|known| known.issuer_ski.as_deref().unwrap_or_default()),
        "certSerial": text(|known| &known.serial),
        "certFingerprintSHA256": text(|known| &known.fingerprint),
        "certNotBefore": moment(|known| known.not_before),
        "certNotAfter": moment(|known| known.not_after),
    })
}

#[cfg(test)]
mod tests {
    use identity::identity::ClientCertificate;
    use serde_json::json;
    use types::AccountId;
    use uuid::Uuid;

    use super::{Certificate, Phase, Question};

    fn told(certificate: Certificate<'_>) -> serde_json::Value {
        let question = Question {
            phase: Phase::Request,
            test: false,
            id: Uuid::nil(),
            account: AccountId(Uuid::nil()),
            application: None,
            identity: None,
            service_token: None,
            request: None,
            source: "192.0.2.7".parse().unwrap(),
            country: None,
            certificate,
        };
        question.write()["tlsClientAuth"].clone()
    }

    #[test]
    fn a_certificate_is_told_in_the_vendors_form_and_one_that_does_not_count_only_as_such() {
        let laptop = ClientCertificate {
            common_name: Some("laptop-7".into()),
            subject_dn: "CN=laptop-7, O=Acme".into(),
            issuer_dn: "CN=Devices CA".into(),
            issuer_ski: Some("AB12".into()),
            serial: "0ABC".into(),
            fingerprint: "77".repeat(32),
            not_before: 1_767_323_045,
            not_after: 1_798_859_045,
        };
        assert_eq!(
            told(Some(Ok(&laptop))),
            json!({
                "certPresented": "1", "certVerified": "SUCCESS", "certSubjectDN": "CN=laptop-7, O=Acme",
                "certIssuerDN": "CN=Devices CA", "certIssuerSKI": "AB12", "certSerial": "0ABC",
                "certFingerprintSHA256": "77".repeat(32), "certNotBefore": "Jan  2 03:04:05 2026 GMT",
                "certNotAfter": "Jan  2 03:04:05 2027 GMT",
            })
        );
        for (certificate, presented, verified) in
            [(None, "0", "NONE"), (Some(Err("it has expired")), "1", "FAILED:it has expired")]
        {
            let told = told(certificate);
            assert_eq!((&told["certPresented"], &told["certVerified"]), (&json!(presented), &json!(verified)));
            for (name, value) in told.as_object().unwrap() {
                assert!(["certPresented", "certVerified"].contains(&name.as_str()) || value == "", "{name}: {value}");
            }
        }
    }
}
