//! WebAuthn against a software authenticator: what works, and each way in which it must not.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use serde_json::Value;
use testkit::SoftwareAuthenticator;
use types::UserId;
use url::Url;
use uuid::Uuid;

use super::{
    Answer, Kind, ModelRules, Person, ProofState, RelyingParty, STATE_LIFE, WebauthnCredential, WebauthnError,
};

const NOW: i64 = 1_800_000_000;
const ADA: UserId = UserId(Uuid::from_u128(1));
const BOB: UserId = UserId(Uuid::from_u128(2));
const ORIGIN: &str = "https://login.acme.example:9443";
const MODEL: [u8; 16] = [7; 16];

fn device(kind: Kind) -> SoftwareAuthenticator {
    SoftwareAuthenticator::new(MODEL, kind == Kind::SecurityKey).counting(true)
}

fn site() -> RelyingParty {
    RelyingParty::new("Acme", "login.acme.example", &[ORIGIN]).unwrap()
}

fn ada() -> Person<'static> {
    Person { id: ADA, name: "ada@acme.example", display_name: "Ada" }
}

/// The browser at `origin` asks the device for a credential or a proof.
fn answered(mut device: SoftwareAuthenticator, origin: &str, options: Value) -> (SoftwareAuthenticator, Vec<u8>) {
    let answer = device.answer(&Url::parse(origin).unwrap(), &options).now_or_never().unwrap().unwrap();
    (device, serde_json::to_vec(&answer).unwrap())
}

fn enrolled(kind: Kind) -> (SoftwareAuthenticator, WebauthnCredential) {
    let rules = ModelRules::default();
    let (options, state) = site().begin_enrolment(ada(), kind, &[], &rules, NOW, &[1; 32]).unwrap();
    let (device, answer) = answered(device(kind), ORIGIN, options);
    (device, site().finish_enrolment(state, &answer, &[], &rules, NOW).unwrap())
}

fn finish(
    state: &ProofState,
    answer: &[u8],
    credential: &WebauthnCredential,
) -> Result<WebauthnCredential, WebauthnError> {
    site().finish_proof(state.clone(), &Answer::read(answer).unwrap(), credential, NOW + 1)
}

#[test]
fn each_kind_is_enrolled_and_proved_through_stored_states() {
    for kind in [Kind::Biometrics, Kind::SecurityKey] {
        let (device, credential) = enrolled(kind);
        assert_eq!((credential.kind, credential.model.into_bytes(), credential.user), (kind, MODEL, ADA));
        let stored = serde_json::to_string(&credential).unwrap();
        let credential: WebauthnCredential = serde_json::from_str(&stored).unwrap();
        let (options, state) = site().begin_proof(ADA, kind, std::slice::from_ref(&credential), NOW, &[2; 32]).unwrap();
        let state: ProofState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        let (_, answer) = answered(device, ORIGIN, options);
        assert_eq!(Answer::read(&answer).unwrap().credential_id(), credential.id());
        let used = finish(&state, &answer, &credential).unwrap();
        assert_eq!(used.last_used_at, Some(NOW + 1));
        assert_eq!(finish(&state, &answer, &used).unwrap_err(), WebauthnError::Used);
    }
}

#[test]
fn an_authenticator_that_counts_nothing_proves_each_challenge_once_and_only_so_many() {
    let rules = ModelRules::default();
    let (options, state) = site().begin_enrolment(ada(), Kind::Passkey, &[], &rules, NOW, &[1; 32]).unwrap();
    let device = device(Kind::Passkey).counting(false);
    let (mut device, answer) = answered(device, ORIGIN, options);
    let mut credential = site().finish_enrolment(state, &answer, &[], &rules, NOW).unwrap();
    let mut seen = Vec::new();
    for seed in 1..=32 {
        let (options, state) = site().begin_sign_in(NOW, &[seed; 32]).unwrap();
        let (back, answer) = answered(device, ORIGIN, options);
        device = back;
        credential = finish(&state, &answer, &credential).unwrap();
        seen.push((state, answer));
    }
    for (state, answer) in &seen {
        assert_eq!(finish(state, answer, &credential).unwrap_err(), WebauthnError::Used);
    }
    let (options, state) = site().begin_sign_in(NOW, &[33; 32]).unwrap();
    let (_, answer) = answered(device, ORIGIN, options);
    assert_eq!(finish(&state, &answer, &credential).unwrap_err(), WebauthnError::TooOften);
}

#[test]
fn an_authenticator_is_enrolled_once_and_a_passkey_beside_a_factor() {
    let rules = ModelRules::default();
    let (options, state) = site().begin_enrolment(ada(), Kind::Biometrics, &[], &rules, NOW, &[1; 32]).unwrap();
    let (_, answer) = answered(device(Kind::Biometrics), ORIGIN, options.clone());
    let first = site().finish_enrolment(state.clone(), &answer, &[], &rules, NOW).unwrap();
    let known = std::slice::from_ref(&first);
    assert_eq!(site().finish_enrolment(state, &answer, known, &rules, NOW).unwrap_err(), WebauthnError::Enrolled);
    // They have different names at the authenticator, so that one does not replace the other.
    let (passkey, _) = site().begin_enrolment(ada(), Kind::Passkey, known, &rules, NOW, &[2; 32]).unwrap();
    assert_ne!(passkey["publicKey"]["user"]["id"], options["publicKey"]["user"]["id"]);
    assert_eq!(passkey["publicKey"]["excludeCredentials"].as_array().map_or(0, Vec::len), 0);
}

#[test]
fn a_passkey_signs_in_the_person_it_names() {
    let (device, credential) = enrolled(Kind::Passkey);
    let (options, state) = site().begin_sign_in(NOW, &[2; 32]).unwrap();
    let (_, answer) = answered(device, ORIGIN, options);
    assert_eq!(Answer::read(&answer).unwrap().user(), Some(ADA));
    finish(&state, &answer, &credential).unwrap();
    let others = WebauthnCredential { user: BOB, ..credential.clone() };
    assert_eq!(finish(&state, &answer, &others).unwrap_err(), WebauthnError::UnknownCredential);
    let factor = WebauthnCredential { kind: Kind::Biometrics, ..credential };
    assert_eq!(finish(&state, &answer, &factor).unwrap_err(), WebauthnError::UnknownCredential);
}

#[test]
fn an_answer_from_another_origin_or_for_another_site_is_refused() {
    let rules = ModelRules::default();
    let (options, state) = site().begin_enrolment(ada(), Kind::Biometrics, &[], &rules, NOW, &[1; 32]).unwrap();
    for (name, origin) in
        [("another port", "https://login.acme.example"), ("a host below", "https://evil.login.acme.example:9443")]
    {
        let (_, answer) = answered(device(Kind::Biometrics), origin, options.clone());
        let refused = site().finish_enrolment(state.clone(), &answer, &[], &rules, NOW).unwrap_err();
        assert_eq!(refused, WebauthnError::Origin, "{name}");
    }
    let (device, credential) = enrolled(Kind::Biometrics);
    let known = std::slice::from_ref(&credential);
    let (options, state) = site().begin_proof(ADA, Kind::Biometrics, known, NOW, &[2; 32]).unwrap();
    let (device, answer) = answered(device, "https://evil.login.acme.example:9443", options.clone());
    assert_eq!(finish(&state, &answer, &credential).unwrap_err(), WebauthnError::Origin);
    // A phishing site that relays the challenge under its own name gets a signature over that name.
    let mut relayed = options;
    relayed["publicKey"]["rpId"] = "evil.example".into();
    let (_, answer) = answered(device, "https://evil.example", relayed);
    assert_eq!(finish(&state, &answer, &credential).unwrap_err(), WebauthnError::Origin);
    // A site whose origin is right and whose relying party id is not.
    let other = RelyingParty::new("Acme", "acme.example", &[ORIGIN]).unwrap();
    let (options, state) = other.begin_enrolment(ada(), Kind::Biometrics, &[], &rules, NOW, &[1; 32]).unwrap();
    let (_, answer) = answered(self::device(Kind::Biometrics), ORIGIN, options);
    assert_eq!(site().finish_enrolment(state, &answer, &[], &rules, NOW).unwrap_err(), WebauthnError::Origin);
}

#[test]
fn an_old_or_replayed_answer_is_refused() {
    let (device, credential) = enrolled(Kind::SecurityKey);
    let known = std::slice::from_ref(&credential);
    let (options, first) = site().begin_proof(ADA, Kind::SecurityKey, known, NOW, &[2; 32]).unwrap();
    let (_, second) = site().begin_proof(ADA, Kind::SecurityKey, known, NOW, &[3; 32]).unwrap();
    let (_, answer) = answered(device, ORIGIN, options);
    assert_eq!(finish(&second, &answer, &credential).unwrap_err(), WebauthnError::Challenge);
    let answer = Answer::read(&answer).unwrap();
    let late = site().finish_proof(first, &answer, &credential, NOW + STATE_LIFE).unwrap_err();
    assert_eq!(late, WebauthnError::Expired);
    let rules = ModelRules::default();
    let (options, state) = site().begin_enrolment(ada(), Kind::SecurityKey, &[], &rules, NOW, &[4; 32]).unwrap();
    let (_, answer) = answered(self::device(Kind::SecurityKey), ORIGIN, options);
    let late = site().finish_enrolment(state.clone(), &answer, &[], &rules, NOW + STATE_LIFE).unwrap_err();
    assert_eq!(late, WebauthnError::Expired);
    let (_, other) = site().begin_enrolment(ada(), Kind::SecurityKey, &[], &rules, NOW, &[5; 32]).unwrap();
    assert_eq!(site().finish_enrolment(other, &answer, &[], &rules, NOW).unwrap_err(), WebauthnError::Challenge);
}

#[test]
fn a_counter_that_goes_back_shows_a_copy() {
    let (mut device, mut credential) = enrolled(Kind::SecurityKey);
    let copy = device.held();
    for seed in [2, 3] {
        let known = std::slice::from_ref(&credential);
        let (options, state) = site().begin_proof(ADA, Kind::SecurityKey, known, NOW, &[seed; 32]).unwrap();
        let (back, answer) = answered(device, ORIGIN, options);
        device = back;
        credential = finish(&state, &answer, &credential).unwrap();
    }
    device.hold(copy);
    let known = std::slice::from_ref(&credential);
    let (options, state) = site().begin_proof(ADA, Kind::SecurityKey, known, NOW, &[4; 32]).unwrap();
    let (_, answer) = answered(device, ORIGIN, options);
    assert_eq!(finish(&state, &answer, &credential).unwrap_err(), WebauthnError::Cloned);
}

#[test]
fn only_allowed_models_are_enrolled() {
    for (models, allowed) in [(vec![Uuid::from_bytes(MODEL)], true), (vec![Uuid::from_u128(9)], false), (vec![], false)]
    {
        let rules = ModelRules { models: Some(BTreeSet::from_iter(models)), roots: None };
        let (options, state) = site().begin_enrolment(ada(), Kind::SecurityKey, &[], &rules, NOW, &[1; 32]).unwrap();
        assert_eq!(options["publicKey"]["attestation"], "direct");
        let (_, answer) = answered(device(Kind::SecurityKey), ORIGIN, options);
        let outcome = site().finish_enrolment(state, &answer, &[], &rules, NOW);
        assert_eq!(outcome.is_ok(), allowed);
        if let Err(error) = outcome {
            assert_eq!(error, WebauthnError::Model(Uuid::from_bytes(MODEL)));
        }
    }
}

#[test]
fn the_options_ask_for_what_the_kind_is() {
    let rules = ModelRules::default();
    for (kind, attachment, verification, resident) in [
        (Kind::Biometrics, "platform", "required", "discouraged"),
        (Kind::SecurityKey, "cross-platform", "preferred", "discouraged"),
    ] {
        let (options, _) = site().begin_enrolment(ada(), kind, &[], &rules, NOW, &[1; 32]).unwrap();
        let selection = &options["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["authenticatorAttachment"], attachment);
        assert_eq!(selection["userVerification"], verification);
        assert_eq!(selection["residentKey"], resident);
    }
    let (_, credential) = enrolled(Kind::Biometrics);
    let (options, _) = site()
        .begin_enrolment(ada(), Kind::Biometrics, std::slice::from_ref(&credential), &rules, NOW, &[1; 32])
        .unwrap();
    assert_eq!(options["publicKey"]["excludeCredentials"][0]["id"], credential.id());
    let (options, state) = site().begin_enrolment(ada(), Kind::Biometrics, &[], &rules, NOW, &[1; 32]).unwrap();
    let (_, answer) = answered(device(Kind::SecurityKey), ORIGIN, options);
    assert_eq!(site().finish_enrolment(state, &answer, &[], &rules, NOW).unwrap_err(), WebauthnError::WrongKind);
    let (options, state) = site().begin_enrolment(ada(), Kind::SecurityKey, &[], &rules, NOW, &[1; 32]).unwrap();
    let (_, answer) = answered(device(Kind::SecurityKey), ORIGIN, options);
    let mut answer: Value = serde_json::from_slice(&answer).unwrap();
    answer["authenticatorAttachment"] = "platform".into();
    let answer = serde_json::to_vec(&answer).unwrap();
    assert_eq!(site().finish_enrolment(state, &answer, &[], &rules, NOW).unwrap_err(), WebauthnError::WrongKind);
    assert!(site().begin_proof(ADA, Kind::SecurityKey, std::slice::from_ref(&credential), NOW, &[2; 32]).is_err());
    assert!(site().begin_proof(BOB, Kind::Biometrics, &[credential], NOW, &[2; 32]).is_err());
}

#[test]
fn a_relying_party_lies_at_its_own_secure_origins() {
    for (id, origin, valid) in [
        ("login.acme.example", "https://login.acme.example", true),
        ("acme.example", "https://login.acme.example", true),
        ("localhost", "http://localhost:9443", true),
        ("acme.example", "http://acme.example", false),
        ("acme.example", "https://evilacme.example", false),
        ("acme.example", "https://acme.example/path", false),
        ("acme.example", "https://acme.example.evil.example", false),
        ("example", "https://acme.example", false),
        ("127.0.0.1", "https://127.0.0.1", false),
    ] {
        assert_eq!(RelyingParty::new("Acme", id, &[origin]).is_ok(), valid, "{id} {origin}");
    }
    assert!(Answer::read(b"{}").is_err() && Answer::read(&vec![b' '; 70_000]).is_err());
}
