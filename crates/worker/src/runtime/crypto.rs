//! The primitives under `crypto.subtle`, over aws-lc-rs. Keys are native objects whose bytes reach the script only
//! through an export the prelude has allowed.
//!
//! Decides: whether bytes are a key of the asked kind, and the result of one operation. Algorithm names, usages and
//! extractability are the prelude's. Invariant: every failure is one opaque `OperationError` or `DataError`, so nothing
//! tells a forged message from a wrong key.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use aws_lc_rs::{constant_time, digest, hkdf, hmac, pbkdf2, rsa};
use rquickjs::class::Trace;
use rquickjs::{Array, Class, Ctx, Exception, Function, JsLifetime, Object, Result, Value};

use super::value::{Bytes, Usv, buffer};

/// Most rounds of PBKDF2 in one call: more would outlast any CPU limit inside native code.
const MAX_ROUNDS: u32 = 100_000;
/// Most bytes one call derives or draws.
const MAX_DERIVED: usize = 64 << 10;

/// Raised to the script as one of the standard's named exceptions.
enum Failure {
    Operation,
    Data,
    NotSupported,
}

type Outcome<T> = std::result::Result<T, Failure>;

impl Failure {
    fn throw(self, ctx: &Ctx<'_>) -> rquickjs::Error {
        match self {
            Self::Operation => Exception::throw_dom(ctx, "OperationError", "the operation failed"),
            Self::Data => Exception::throw_dom(ctx, "DataError", "the key data is not valid"),
            Self::NotSupported => Exception::throw_dom(ctx, "NotSupportedError", "this combination is not supported"),
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for Failure {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Operation
    }
}

impl From<aws_lc_rs::error::KeyRejected> for Failure {
    fn from(_: aws_lc_rs::error::KeyRejected) -> Self {
        Self::Data
    }
}

/// Key material.
#[derive(Clone)]
enum Material {
    Secret(Vec<u8>),
    /// PKCS#8 and the public point, with the curve.
    EcPrivate(Curve, Vec<u8>),
    /// Uncompressed point.
    EcPublic(Curve, Vec<u8>),
    /// PKCS#8.
    RsaPrivate(Vec<u8>),
    /// Modulus and exponent.
    RsaPublic(Vec<u8>, Vec<u8>),
    /// Seed.
    EdPrivate(Vec<u8>),
    EdPublic(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "NativeKey")]
struct NativeKey {
    #[qjs(skip_trace)]
    material: Material,
}

#[rquickjs::methods]
impl NativeKey {}

/// Adds the primitives to the prelude's `host` object.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    let crypto = Object::new(ctx.clone())?;
    crypto.set("random", Function::new(ctx.clone(), random)?)?;
    crypto.set("digest", Function::new(ctx.clone(), digest_bytes)?)?;
    crypto.set(
        "equal",
        Function::new(ctx.clone(), |a: Bytes, b: Bytes| constant_time::verify_slices_are_equal(&a.0, &b.0).is_ok())?,
    )?;
    crypto.set("importKey", Function::new(ctx.clone(), import_key)?)?;
    crypto.set("importRsa", Function::new(ctx.clone(), import_rsa)?)?;
    crypto.set("exportKey", Function::new(ctx.clone(), export_key)?)?;
    crypto.set("generate", Function::new(ctx.clone(), generate)?)?;
    crypto.set("sign", Function::new(ctx.clone(), sign)?)?;
    crypto.set("verify", Function::new(ctx.clone(), verify)?)?;
    crypto.set("crypt", Function::new(ctx.clone(), crypt)?)?;
    crypto.set("derive", Function::new(ctx.clone(), derive)?)?;
    crypto.set("bits", Function::new(ctx.clone(), |key: Class<'js, NativeKey>| key_bits(&key.borrow().material))?)?;
    host.set("crypto", crypto)
}

fn random<'js>(ctx: Ctx<'js>, count: usize) -> Result<Value<'js>> {
    if count > MAX_DERIVED {
        return Err(Exception::throw_dom(&ctx, "QuotaExceededError", "at most 65536 random bytes at once"));
    }
    let mut bytes = vec![0; count];
    SystemRandom::new().fill(&mut bytes).map_err(|error| Failure::from(error).throw(&ctx))?;
    buffer(&ctx, &bytes)
}

fn digest_algorithm(hash: &str) -> Outcome<&'static digest::Algorithm> {
    match hash {
        "SHA-1" => Ok(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        "SHA-256" => Ok(&digest::SHA256),
        "SHA-384" => Ok(&digest::SHA384),
        "SHA-512" => Ok(&digest::SHA512),
        _ => Err(Failure::NotSupported),
    }
}

fn digest_bytes<'js>(ctx: Ctx<'js>, hash: Usv, data: Bytes) -> Result<Value<'js>> {
    let algorithm = digest_algorithm(&hash.0).map_err(|failure| failure.throw(&ctx))?;
    buffer(&ctx, digest::digest(algorithm, &data.0).as_ref())
}

fn curve(name: &str) -> Outcome<Curve> {
    match name {
        "P-256" => Ok(Curve::P256),
        "P-384" => Ok(Curve::P384),
        _ => Err(Failure::NotSupported),
    }
}

impl Curve {
    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    fn field(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// The DER head of a SubjectPublicKeyInfo, up to the point.
    fn spki_head(self) -> &'static [u8] {
        match self {
            Self::P256 => b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
            Self::P384 => b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
        }
    }

    fn check_point(self, point: &[u8]) -> Outcome<()> {
        if point.len() != 1 + 2 * self.field() || point.first() != Some(&4) {
            return Err(Failure::Data);
        }
        let algorithm: &'static dyn signature::VerificationAlgorithm = match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
        };
        UnparsedPublicKey::new(algorithm, point).parse().map(drop).map_err(Failure::from)
    }

    fn ecdsa(self, hash: &str) -> Outcome<(&'static EcdsaSigningAlgorithm, &'static EcdsaVerificationAlgorithm)> {
        match (self, hash) {
            (Self::P256, "SHA-256") => {
                Ok((&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_FIXED))
            }
            (Self::P384, "SHA-384") => {
                Ok((&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_FIXED))
            }
            _ => Err(Failure::NotSupported),
        }
    }
}

const ED_SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// `kind` is the family ("secret", "EC", "Ed25519", "RSA"), `format` how `data` is written.
fn import_key<'js>(ctx: Ctx<'js>, kind: Usv, format: Usv, detail: Usv, data: Bytes) -> Result<Class<'js, NativeKey>> {
    let material = import(&kind.0, &format.0, &detail.0, data.0).map_err(|failure| failure.throw(&ctx))?;
    Class::instance(ctx, NativeKey { material })
}

fn import(kind: &str, format: &str, detail: &str, data: Vec<u8>) -> Outcome<Material> {
    match (kind, format) {
        ("secret", "raw") => Ok(Material::Secret(data)),
        ("EC", "raw") => {
            let curve = curve(detail)?;
            curve.check_point(&data)?;
            Ok(Material::EcPublic(curve, data))
        }
        ("EC", "spki") => {
            let curve = curve(detail)?;
            let point = data.strip_prefix(curve.spki_head()).ok_or(Failure::Data)?;
            curve.check_point(point)?;
            Ok(Material::EcPublic(curve, point.to_vec()))
        }
        ("EC", "pkcs8") => {
            let curve = curve(detail)?;
            EcdsaKeyPair::from_pkcs8(curve.signing(), &data)?;
            Ok(Material::EcPrivate(curve, data))
        }
        ("EC", "private") => {
            // The private number followed by the public point.
            let curve = curve(detail)?;
            let (number, point) = data.split_at_checked(curve.field()).ok_or(Failure::Data)?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), number, point)?;
            Ok(Material::EcPrivate(curve, pair.to_pkcs8v1()?.as_ref().to_vec()))
        }
        ("Ed25519", "raw") if data.len() == 32 => Ok(Material::EdPublic(data)),
        ("Ed25519", "spki") => match data.strip_prefix(ED_SPKI) {
            Some(key) if key.len() == 32 => Ok(Material::EdPublic(key.to_vec())),
            _ => Err(Failure::Data),
        },
        ("Ed25519", "pkcs8") => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&data)?;
            let seed: Curve25519SeedBin<'_> = pair.seed()?.as_be_bytes()?;
            Ok(Material::EdPrivate(seed.as_ref().to_vec()))
        }
        ("Ed25519", "private") if data.len() == 32 => Ok(Material::EdPrivate(data)),
        ("RSA", "pkcs8") => {
            rsa::KeyPair::from_pkcs8(&data)?;
            Ok(Material::RsaPrivate(data))
        }
        ("RSA", "spki") => {
            let key = rsa::PublicKey::from_der(&data)?;
            let (n, e) = (key.modulus(), key.exponent());
            Ok(Material::RsaPublic(
                n.big_endian_without_leading_zero().to_vec(),
                e.big_endian_without_leading_zero().to_vec(),
            ))
        }
        _ => Err(Failure::Data),
    }
}

/// Two numbers are a public key, eight a private one: n, e, d, p, q, dp, dq, qi.
fn import_rsa<'js>(ctx: Ctx<'js>, numbers: Vec<Bytes>) -> Result<Class<'js, NativeKey>> {
    let material = match numbers.as_slice() {
        [n, e] => Ok(Material::RsaPublic(n.0.clone(), e.0.clone())),
        [n, e, d, p, q, dp, dq, qi] => {
            let public_key = rsa::PublicKeyComponents { n: n.0.as_slice(), e: e.0.as_slice() };
            let components = rsa::KeyPairComponents {
                public_key,
                d: d.0.as_slice(),
                p: p.0.as_slice(),
                q: q.0.as_slice(),
                dP: dp.0.as_slice(),
                dQ: dq.0.as_slice(),
                qInv: qi.0.as_slice(),
            };
            rsa::KeyPair::from_components(&components).map_err(Failure::from).and_then(|pair| {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                Ok(Material::RsaPrivate(der.as_ref().to_vec()))
            })
        }
        _ => Err(Failure::Data),
    };
    let material = material.map_err(|failure| failure.throw(&ctx))?;
    Class::instance(ctx, NativeKey { material })
}

fn export_key<'js>(ctx: Ctx<'js>, key: Class<'js, NativeKey>, format: Usv) -> Result<Array<'js>> {
    let parts = export(&key.borrow().material, &format.0).map_err(|failure| failure.throw(&ctx))?;
    let list = Array::new(ctx.clone())?;
    for (at, part) in parts.into_iter().enumerate() {
        list.set(at, buffer(&ctx, &part)?)?;
    }
    Ok(list)
}

/// One buffer for raw, spki and pkcs8; for "parts" what a JWK needs: the numbers of the key, the public ones first.
fn export(material: &Material, format: &str) -> Outcome<Vec<Vec<u8>>> {
    match (material, format) {
        (Material::Secret(bytes), "raw" | "parts")
        | (Material::EdPublic(bytes), "raw" | "parts")
        | (Material::EcPublic(_, bytes), "raw")
        | (Material::EcPrivate(_, bytes) | Material::RsaPrivate(bytes), "pkcs8") => Ok(vec![bytes.clone()]),
        (Material::EcPublic(curve, point), "spki") => Ok(vec![[curve.spki_head(), point.as_slice()].concat()]),
        (Material::EcPublic(curve, point), "parts") => {
            let (x, y) = point[1..].split_at(curve.field());
            Ok(vec![x.to_vec(), y.to_vec()])
        }
        (Material::EcPrivate(curve, pkcs8), "parts") => {
            let pair = EcdsaKeyPair::from_pkcs8(curve.signing(), pkcs8)?;
            let number: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes()?;
            let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.field());
            Ok(vec![x.to_vec(), y.to_vec(), number.as_ref().to_vec()])
        }
        (Material::EdPublic(bytes), "spki") => Ok(vec![[ED_SPKI, bytes.as_slice()].concat()]),
        (Material::EdPrivate(seed), "pkcs8") => {
            Ok(vec![Ed25519KeyPair::from_seed_unchecked(seed)?.to_pkcs8v1()?.as_ref().to_vec()])
        }
        (Material::EdPrivate(seed), "parts") => {
            let pair = Ed25519KeyPair::from_seed_unchecked(seed)?;
            Ok(vec![pair.public_key().as_ref().to_vec(), seed.clone()])
        }
        (Material::RsaPrivate(pkcs8), "parts") => rsa_numbers(pkcs8).ok_or(Failure::Operation),
        (Material::RsaPublic(n, e), "parts") => Ok(vec![n.clone(), e.clone()]),
        (Material::RsaPublic(n, e), "spki") => {
            let components = RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
            let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> = components.as_der()?;
            Ok(vec![der.as_ref().to_vec()])
        }
        _ => Err(Failure::NotSupported),
    }
}

/// The eight numbers of an RSA private key (RFC 8017, A.1.2) in PKCS#8 (RFC 5208), as `import_rsa` takes them.
fn rsa_numbers(pkcs8: &[u8]) -> Option<Vec<Vec<u8>>> {
    const INTEGER: u8 = 2;
    const OCTETS: u8 = 4;
    const SEQUENCE: u8 = 0x30;
    let (outer, _) = der_value(pkcs8, SEQUENCE)?;
    let (_, rest) = der_value(outer, INTEGER)?;
    let (_, rest) = der_value(rest, SEQUENCE)?;
    let (key, _) = der_value(rest, OCTETS)?;
    let (mut rest, _) = der_value(key, SEQUENCE)?;
    (_, rest) = der_value(rest, INTEGER)?;
    let mut numbers = Vec::with_capacity(8);
    for _ in 0..8 {
        let number;
        (number, rest) = der_value(rest, INTEGER)?;
        numbers.push(number.strip_prefix(&[0]).unwrap_or(number).to_vec());
    }
    Some(numbers)
}

/// The content of the DER value of kind `tag` that `input` begins with, and what follows it.
fn der_value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = input.split_first()?;
    let (length, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    if *length < 0x80 {
        return rest.split_at_checked(usize::from(*length));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
    let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
    rest.split_at_checked(length)
}

fn key_bits(material: &Material) -> usize {
    match material {
        Material::Secret(bytes) => bytes.len() * 8,
        Material::EcPrivate(curve, _) | Material::EcPublic(curve, _) => curve.field() * 8,
        Material::RsaPublic(n, _) => n.len() * 8,
        Material::RsaPrivate(pkcs8) => rsa::KeyPair::from_pkcs8(pkcs8).map_or(0, |pair| pair.public_modulus_len() * 8),
        Material::EdPrivate(_) | Material::EdPublic(_) => 256,
    }
}

/// A private and a public key.
fn generate<'js>(ctx: Ctx<'js>, kind: Usv, detail: Usv) -> Result<Array<'js>> {
    let (private, public) = generate_pair(&kind.0, &detail.0).map_err(|failure| failure.throw(&ctx))?;
    let pair = Array::new(ctx.clone())?;
    pair.set(0, Class::instance(ctx.clone(), NativeKey { material: private })?)?;
    pair.set(1, Class::instance(ctx, NativeKey { material: public })?)?;
    Ok(pair)
}

fn generate_pair(kind: &str, detail: &str) -> Outcome<(Material, Material)> {
    match kind {
        "EC" => {
            let curve = curve(detail)?;
            let pair = EcdsaKeyPair::generate(curve.signing())?;
            let public = pair.public_key().as_ref().to_vec();
            Ok((Material::EcPrivate(curve, pair.to_pkcs8v1()?.as_ref().to_vec()), Material::EcPublic(curve, public)))
        }
        "Ed25519" => {
            let pair = Ed25519KeyPair::generate()?;
            let seed: Curve25519SeedBin<'_> = pair.seed()?.as_be_bytes()?;
            Ok((Material::EdPrivate(seed.as_ref().to_vec()), Material::EdPublic(pair.public_key().as_ref().to_vec())))
        }
        "RSA" => {
            let size = match detail {
                "2048" => rsa::KeySize::Rsa2048,
                "3072" => rsa::KeySize::Rsa3072,
                "4096" => rsa::KeySize::Rsa4096,
                _ => return Err(Failure::NotSupported),
            };
            let pair = rsa::KeyPair::generate(size)?;
            let der: Pkcs8V1Der<'_> = pair.as_der()?;
            let public = pair.public_key();
            Ok((
                Material::RsaPrivate(der.as_ref().to_vec()),
                Material::RsaPublic(
                    public.modulus().big_endian_without_leading_zero().to_vec(),
                    public.exponent().big_endian_without_leading_zero().to_vec(),
                ),
            ))
        }
        _ => Err(Failure::NotSupported),
    }
}

fn hmac_algorithm(hash: &str) -> Outcome<hmac::Algorithm> {
    match hash {
        "SHA-1" => Ok(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        "SHA-256" => Ok(hmac::HMAC_SHA256),
        "SHA-384" => Ok(hmac::HMAC_SHA384),
        "SHA-512" => Ok(hmac::HMAC_SHA512),
        _ => Err(Failure::NotSupported),
    }
}

fn rsa_algorithms(scheme: &str, hash: &str) -> Outcome<(&'static dyn RsaEncoding, &'static RsaParameters)> {
    match (scheme, hash) {
        ("RSASSA-PKCS1-v1_5", "SHA-256") => Ok((&signature::RSA_PKCS1_SHA256, &signature::RSA_PKCS1_2048_8192_SHA256)),
        ("RSASSA-PKCS1-v1_5", "SHA-384") => Ok((&signature::RSA_PKCS1_SHA384, &signature::RSA_PKCS1_2048_8192_SHA384)),
        ("RSASSA-PKCS1-v1_5", "SHA-512") => Ok((&signature::RSA_PKCS1_SHA512, &signature::RSA_PKCS1_2048_8192_SHA512)),
        ("RSA-PSS", "SHA-256") => Ok((&signature::RSA_PSS_SHA256, &signature::RSA_PSS_2048_8192_SHA256)),
        ("RSA-PSS", "SHA-384") => Ok((&signature::RSA_PSS_SHA384, &signature::RSA_PSS_2048_8192_SHA384)),
        ("RSA-PSS", "SHA-512") => Ok((&signature::RSA_PSS_SHA512, &signature::RSA_PSS_2048_8192_SHA512)),
        _ => Err(Failure::NotSupported),
    }
}

fn sign<'js>(ctx: Ctx<'js>, key: Class<'js, NativeKey>, scheme: Usv, hash: Usv, data: Bytes) -> Result<Value<'js>> {
    let made =
        sign_bytes(&key.borrow().material, &scheme.0, &hash.0, &data.0).map_err(|failure| failure.throw(&ctx))?;
    buffer(&ctx, &made)
}

fn sign_bytes(material: &Material, scheme: &str, hash: &str, data: &[u8]) -> Outcome<Vec<u8>> {
    match material {
        Material::Secret(key) => Ok(hmac::sign(&hmac::Key::new(hmac_algorithm(hash)?, key), data).as_ref().to_vec()),
        Material::EcPrivate(curve, pkcs8) => {
            let pair = EcdsaKeyPair::from_pkcs8(curve.ecdsa(hash)?.0, pkcs8)?;
            Ok(pair.sign(&SystemRandom::new(), data)?.as_ref().to_vec())
        }
        Material::EdPrivate(seed) => Ok(Ed25519KeyPair::from_seed_unchecked(seed)?.sign(data).as_ref().to_vec()),
        Material::RsaPrivate(pkcs8) => {
            let pair = rsa::KeyPair::from_pkcs8(pkcs8)?;
            let mut made = vec![0; pair.public_modulus_len()];
            pair.sign(rsa_algorithms(scheme, hash)?.0, &SystemRandom::new(), data, &mut made)?;
            Ok(made)
        }
        Material::EcPublic(..) | Material::EdPublic(_) | Material::RsaPublic(..) => Err(Failure::Operation),
    }
}

fn verify(ctx: Ctx<'_>, key: Class<'_, NativeKey>, scheme: Usv, hash: Usv, given: Bytes, data: Bytes) -> Result<bool> {
    verify_bytes(&key.borrow().material, &scheme.0, &hash.0, &given.0, &data.0).map_err(|failure| failure.throw(&ctx))
}

fn verify_bytes(material: &Material, scheme: &str, hash: &str, given: &[u8], data: &[u8]) -> Outcome<bool> {
    match material {
        Material::Secret(key) => Ok(hmac::verify(&hmac::Key::new(hmac_algorithm(hash)?, key), data, given).is_ok()),
        Material::EcPublic(curve, point) => {
            Ok(UnparsedPublicKey::new(curve.ecdsa(hash)?.1, point).verify(data, given).is_ok())
        }
        Material::EdPublic(key) => Ok(UnparsedPublicKey::new(&signature::ED25519, key).verify(data, given).is_ok()),
        Material::RsaPublic(n, e) => {
            let key = RsaPublicKeyComponents { n, e };
            Ok(key.verify(rsa_algorithms(scheme, hash)?.1, data, given).is_ok())
        }
        Material::EcPrivate(..) | Material::EdPrivate(_) | Material::RsaPrivate(_) => Err(Failure::Operation),
    }
}

/// `extra` is the additional data of GCM.
fn crypt<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, NativeKey>,
    mode: Usv,
    seal: bool,
    iv: Bytes,
    extra: Bytes,
    data: Bytes,
) -> Result<Value<'js>> {
    let Material::Secret(secret) = key.borrow().material.clone() else {
        return Err(Failure::Operation.throw(&ctx));
    };
    let made = match mode.0.as_str() {
        "AES-GCM" => gcm(&secret, seal, &iv.0, &extra.0, data.0),
        "AES-CBC" => cbc(&secret, seal, &iv.0, data.0),
        "AES-CTR" => ctr(&secret, &iv.0, data.0),
        _ => Err(Failure::NotSupported),
    };
    buffer(&ctx, &made.map_err(|failure| failure.throw(&ctx))?)
}

fn gcm(key: &[u8], seal: bool, iv: &[u8], extra: &[u8], mut data: Vec<u8>) -> Outcome<Vec<u8>> {
    let algorithm = match key.len() {
        16 => &aead::AES_128_GCM,
        24 => &aead::AES_192_GCM,
        32 => &aead::AES_256_GCM,
        _ => return Err(Failure::Data),
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key)?);
    let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| Failure::NotSupported)?;
    if seal {
        key.seal_in_place_append_tag(nonce, Aad::from(extra), &mut data)?;
        return Ok(data);
    }
    Ok(key.open_in_place(nonce, Aad::from(extra), &mut data)?.to_vec())
}

fn aes(key: &[u8]) -> Outcome<UnboundCipherKey> {
    let algorithm = match key.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        32 => &cipher::AES_256,
        _ => return Err(Failure::Data),
    };
    Ok(UnboundCipherKey::new(algorithm, key)?)
}

fn cbc(key: &[u8], seal: bool, iv: &[u8], mut data: Vec<u8>) -> Outcome<Vec<u8>> {
    let iv = FixedLength::<16>::try_from(iv)?;
    if seal {
        let key = cipher::PaddedBlockEncryptingKey::cbc_pkcs7(aes(key)?)?;
        key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv))?;
        return Ok(data);
    }
    let key = cipher::PaddedBlockDecryptingKey::cbc_pkcs7(aes(key)?)?;
    Ok(key.decrypt(&mut data, DecryptionContext::Iv128(iv))?.to_vec())
}

fn ctr(key: &[u8], iv: &[u8], mut data: Vec<u8>) -> Outcome<Vec<u8>> {
    let iv = FixedLength::<16>::try_from(iv)?;
    EncryptingKey::ctr(aes(key)?)?.less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv))?;
    Ok(data)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF (`rounds` 0) or PBKDF2.
fn derive<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, NativeKey>,
    hash: Usv,
    salt: Bytes,
    info: Bytes,
    rounds: u32,
    count: usize,
) -> Result<Value<'js>> {
    let made = derive_bytes(&key.borrow().material, &hash.0, &salt.0, &info.0, rounds, count);
    buffer(&ctx, &made.map_err(|failure| failure.throw(&ctx))?)
}

fn derive_bytes(
    material: &Material,
    hash: &str,
    salt: &[u8],
    info: &[u8],
    rounds: u32,
    count: usize,
) -> Outcome<Vec<u8>> {
    let Material::Secret(secret) = material else { return Err(Failure::Operation) };
    if count == 0 || count > MAX_DERIVED {
        return Err(Failure::Operation);
    }
    let mut made = vec![0; count];
    let Some(rounds) = std::num::NonZeroU32::new(rounds) else {
        let algorithm = match hash {
            "SHA-1" => hkdf::HKDF_SHA1_FOR_LEGACY_USE_ONLY,
            "SHA-256" => hkdf::HKDF_SHA256,
            "SHA-384" => hkdf::HKDF_SHA384,
            "SHA-512" => hkdf::HKDF_SHA512,
            _ => return Err(Failure::NotSupported),
        };
        hkdf::Salt::new(algorithm, salt).extract(secret).expand(&[info], Length(count))?.fill(&mut made)?;
        return Ok(made);
    };
    if rounds.get() > MAX_ROUNDS {
        return Err(Failure::NotSupported);
    }
    let algorithm = match hash {
        "SHA-1" => pbkdf2::PBKDF2_HMAC_SHA1,
        "SHA-256" => pbkdf2::PBKDF2_HMAC_SHA256,
        "SHA-384" => pbkdf2::PBKDF2_HMAC_SHA384,
        "SHA-512" => pbkdf2::PBKDF2_HMAC_SHA512,
        _ => return Err(Failure::NotSupported),
    };
    pbkdf2::derive(algorithm, rounds, salt, secret, &mut made);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::DecryptingKey;

    use super::*;

    #[test]
    fn counter_mode_agrees_with_its_inverse() {
        let data = b"some text longer than a block".to_vec();
        let sealed = ctr(&[7; 16], &[1; 16], data.clone()).ok().unwrap();
        let mut opened = sealed.clone();
        let iv = FixedLength::<16>::from([1; 16]);
        let key = DecryptingKey::ctr(aes(&[7; 16]).ok().unwrap()).unwrap();
        key.decrypt(&mut opened, DecryptionContext::Iv128(iv)).unwrap();
        assert_ne!(sealed, data);
        assert_eq!(opened, data);
    }
}
