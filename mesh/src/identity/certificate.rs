//! What a node's certificate says, read back out of it.

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;
use shoal_types::{MeshId, NodeId, UnixMillis, Validity};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, time::ASN1Time};

use super::{CLOCK_TOLERANCE, CertificateError, keys::PublicKey};

const ROLE: &str = "shoal:role:";
const LABEL: &str = "shoal:label:";
const WRITE: &str = "write";
const ISSUER: &str = "issuer";
/// What the name of an issuer's certificate begins with; its node follows.
const ISSUER_NAME: &str = "shoal issuer ";

/// The name that a peer's certificate must carry: dialling it pins that one node of that one mesh.
pub(crate) fn dns_name(node: NodeId, mesh: MeshId) -> String {
    format!("{node}.{mesh}.shoal")
}

/// The name of the certificate with which `node` signs others.
pub(super) fn issuer_name(node: NodeId) -> String {
    format!("{ISSUER_NAME}{node}")
}

/// What a node may do beyond serving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// Its signature on a spec counts.
    pub write: bool,
    /// It can admit and renew nodes.
    pub issuer: bool,
}

/// The contents of one node certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// The node: the hash of `key`.
    pub node: NodeId,
    /// The mesh that it says it belongs to; true only of a verified chain.
    pub mesh: MeshId,
    /// The node's public key.
    pub key: PublicKey,
    /// The node whose issuing key signed it; true only of a verified chain. `None` if another kind of issuer did.
    pub issuer: Option<NodeId>,
    /// What it may do.
    pub roles: Roles,
    /// Labels that its join token gave it.
    pub labels: BTreeMap<String, String>,
    /// First moment of validity.
    pub not_before: UnixMillis,
    /// Last moment of validity.
    pub not_after: UnixMillis,
}

/// From when to when a certificate is valid.
pub(super) fn validity(der: &CertificateDer<'_>) -> Result<Validity, CertificateError> {
    let certificate = x509(der)?;
    let validity = certificate.validity();
    Ok(Validity { from: made(unix_millis(validity.not_before)), until: unix_millis(validity.not_after) })
}

/// When a certificate was made: its validity begins earlier, for clocks that are behind.
fn made(not_before: UnixMillis) -> UnixMillis {
    not_before.plus(CLOCK_TOLERANCE)
}

impl NodeCertificate {
    /// Reads a certificate. Says nothing about who signed it: see [`super::Roots::verify`].
    ///
    /// # Errors
    /// If it is not of the form that shoal gives to nodes, or its name is not the hash of its key.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let certificate = x509(der)?;
        let key = public_key(&certificate)?;
        let node = key.node_id();
        let names = Names::of(&certificate)?;
        let malformed =
            || CertificateError::Malformed(format!("its name `{}` is not that of its key, {node}", names.dns));
        let (name, mesh) =
            names.dns.strip_suffix(".shoal").and_then(|name| name.split_once('.')).ok_or_else(malformed)?;
        if name.parse() != Ok(node) {
            return Err(malformed());
        }
        Ok(Self {
            node,
            mesh: mesh.parse().map_err(|_| malformed())?,
            key,
            issuer: issuing_node(&certificate),
            roles: names.roles,
            labels: names.labels,
            not_before: unix_millis(certificate.validity().not_before),
            not_after: unix_millis(certificate.validity().not_after),
        })
    }

    /// When it was made, and until when it is valid.
    pub fn validity(&self) -> Validity {
        Validity { from: made(self.not_before), until: self.not_after }
    }

    /// Whether at least half of its life is over, so that it is time to renew it.
    pub fn past_half_life(&self, now: UnixMillis) -> bool {
        let validity = self.validity();
        now.since(validity.from) >= validity.life() / 2
    }
}

/// The alternative names of a node certificate as URIs, the inverse of [`Names::of`].
pub(super) fn uris(roles: Roles, labels: &BTreeMap<String, String>) -> Vec<String> {
    let role = |given: bool, name: &str| given.then(|| format!("{ROLE}{name}"));
    let roles = [role(roles.write, WRITE), role(roles.issuer, ISSUER)].into_iter().flatten();
    roles.chain(labels.iter().map(|(key, value)| format!("{LABEL}{key}={value}"))).collect()
}

/// The key in a certificate of any kind.
pub(crate) fn certified_key(der: &CertificateDer<'_>) -> Result<PublicKey, CertificateError> {
    public_key(&x509(der)?)
}

fn issuing_node(certificate: &X509Certificate<'_>) -> Option<NodeId> {
    let name = certificate.issuer().iter_common_name().next()?.as_str().ok()?;
    name.strip_prefix(ISSUER_NAME)?.parse().ok()
}

struct Names {
    dns: String,
    roles: Roles,
    labels: BTreeMap<String, String>,
}

impl Names {
    fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let malformed = |reason: &str| CertificateError::Malformed(reason.to_owned());
        let extension = certificate.subject_alternative_name().map_err(|error| malformed(&error.to_string()))?;
        let names = &extension.ok_or_else(|| malformed("it has no alternative names"))?.value.general_names;
        let mut dns = None;
        let (mut roles, mut labels) = (Roles::default(), BTreeMap::new());
        for name in names {
            match name {
                GeneralName::DNSName(name) if dns.is_none() => dns = Some((*name).to_owned()),
                GeneralName::DNSName(_) => return Err(malformed("it has two DNS names")),
                // Roles and labels of a later version are not for us to judge.
                GeneralName::URI(uri) => match (uri.strip_prefix(ROLE), uri.strip_prefix(LABEL)) {
                    (Some(WRITE), _) => roles.write = true,
                    (Some(ISSUER), _) => roles.issuer = true,
                    (_, Some(label)) => labels.extend(label.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))),
                    _ => {}
                },
                _ => return Err(malformed("it has a name that shoal does not give")),
            }
        }
        Ok(Self { dns: dns.ok_or_else(|| malformed("it has no DNS name"))?, roles, labels })
    }
}

fn x509<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(CertificateError::Malformed("bytes follow its end".to_owned())),
        Err(error) => Err(CertificateError::Malformed(error.to_string())),
    }
}

fn public_key(certificate: &X509Certificate<'_>) -> Result<PublicKey, CertificateError> {
    PublicKey::from_spki(certificate.public_key().raw)
        .ok_or_else(|| CertificateError::Malformed("its key is not an Ed25519 key".to_owned()))
}

fn unix_millis(time: ASN1Time) -> UnixMillis {
    UnixMillis::from_millis(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000))
}
