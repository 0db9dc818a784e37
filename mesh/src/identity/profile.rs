//! The three kinds of certificate and how long each lives.

use std::{collections::BTreeMap, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use shoal_types::{MeshId, NodeId, UnixMillis};

use super::{
    IdentityError,
    certificate::{Roles, dns_name, issuer_name, uris, validity},
    keys::{PrivateKey, PublicKey, random},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const ROOT_LIFE: Duration = DAY.saturating_mul(20 * 365);
const ISSUER_LIFE: Duration = DAY.saturating_mul(365);
/// Short, so that a node that is forgotten drops out by itself; renewed at half of it.
pub const NODE_LIFE: Duration = DAY.saturating_mul(3);
/// The longest life that an issuer gives to a node.
pub const NODE_LIFE_MAX: Duration = DAY.saturating_mul(7);
/// How far two clocks may be apart: a joining node that differs by more is refused.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// A certificate authority: its certificate and the key that signs.
pub(super) struct Authority<'a> {
    pub(super) certificate: &'a CertificateDer<'static>,
    pub(super) key: &'a PrivateKey,
}

/// The certificate of a new root.
pub(super) fn root(key: &PrivateKey, now: UnixMillis) -> Result<CertificateDer<'static>, IdentityError> {
    let mut params = params(root_name(&key.public()), now, now.plus(ROOT_LIFE))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(key).map_err(|error| making("the root certificate", &error))?;
    Ok(certificate.into())
}

fn root_name(key: &PublicKey) -> String {
    format!("shoal mesh {}", key.mesh_id())
}

/// The certificate by which a root vouches for the one that is to follow it, whose key is `key`.
pub(super) fn cross(
    key: &PublicKey,
    by: &Authority<'_>,
    now: UnixMillis,
) -> Result<CertificateDer<'static>, IdentityError> {
    let mut params = params(root_name(key), now, validity(by.certificate)?.until)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    signed(params, key, by, "a cross certificate")
}

/// The certificate with which `node` may sign nodes, and nothing that signs in turn.
pub(super) fn issuer(
    key: &PublicKey,
    node: NodeId,
    root: &Authority<'_>,
    now: UnixMillis,
) -> Result<CertificateDer<'static>, IdentityError> {
    let mut params = params(issuer_name(node), now, now.plus(ISSUER_LIFE))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    signed(params, key, root, "an issuer certificate")
}

/// What a certificate says of a node.
pub(super) struct Subject<'a> {
    pub(super) key: &'a PublicKey,
    pub(super) mesh: MeshId,
    pub(super) roles: Roles,
    pub(super) labels: &'a BTreeMap<String, String>,
}

/// The certificate of a node, for as long as `life`, and no longer than the issuer's own.
pub(super) fn node(
    Subject { key, mesh, roles, labels }: Subject<'_>,
    issuer: &Authority<'_>,
    life: Duration,
    now: UnixMillis,
) -> Result<CertificateDer<'static>, IdentityError> {
    let node = key.node_id();
    let until = now.plus(life.min(NODE_LIFE_MAX)).min(validity(issuer.certificate)?.until);
    let mut params = params(node.to_string(), now, until)?;
    let name = |error: rcgen::Error| making("a node certificate", &error);
    params.subject_alt_names = vec![SanType::DnsName(dns_name(node, mesh).try_into().map_err(name)?)];
    for uri in uris(roles, labels) {
        params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(name)?));
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    signed(params, key, issuer, "a node certificate")
}

fn params(name: String, now: UnixMillis, until: UnixMillis) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Else rcgen hashes the key into it, and a renewed certificate would repeat the number of the old one.
    let mut serial: [u8; 16] = random()?;
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let tolerated = now.as_millis().saturating_sub(u64::try_from(CLOCK_TOLERANCE.as_millis()).unwrap_or(0));
    params.not_before = epoch + Duration::from_millis(tolerated);
    params.not_after = epoch + Duration::from_millis(until.as_millis());
    Ok(params)
}

fn signed(
    params: CertificateParams,
    key: &PublicKey,
    by: &Authority<'_>,
    what: &'static str,
) -> Result<CertificateDer<'static>, IdentityError> {
    let issuer = rcgen::Issuer::from_ca_cert_der(by.certificate, by.key).map_err(|error| making(what, &error))?;
    Ok(params.signed_by(key, &issuer).map_err(|error| making(what, &error))?.into())
}

fn making(what: &'static str, error: &rcgen::Error) -> IdentityError {
    IdentityError::Making { what, reason: error.to_string() }
}
