//! The identity directory: `<state>/identity`, for its owner alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    IdentityError,
    keys::{PrivateKey, pem, random},
};

/// No file of ours comes near it.
const FILE_MAX: u64 = 64 * 1024;

/// The files of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdentityFile {
    RootKey,
    RootCertificate,
    IssuerKey,
    IssuerCertificate,
    /// The key of an issuer to be.
    NextIssuerKey,
    NodeKey,
    /// Leaf and issuer. Written last: an identity is whole once it is there.
    NodeChain,
}

impl IdentityFile {
    pub(super) const ALL: [Self; 7] = [
        Self::RootKey,
        Self::RootCertificate,
        Self::IssuerKey,
        Self::IssuerCertificate,
        Self::NextIssuerKey,
        Self::NodeKey,
        Self::NodeChain,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::RootKey => "root.key",
            Self::RootCertificate => "root.crt",
            Self::IssuerKey => "issuer.key",
            Self::IssuerCertificate => "issuer.crt",
            Self::NextIssuerKey => "issuer-next.key",
            Self::NodeKey => "node.key",
            Self::NodeChain => "node.crt",
        }
    }

    const fn mode(self) -> u32 {
        match self {
            Self::RootKey | Self::IssuerKey | Self::NextIssuerKey | Self::NodeKey => 0o600,
            Self::RootCertificate | Self::IssuerCertificate | Self::NodeChain => 0o644,
        }
    }
}

/// Reads and writes those files.
#[derive(Debug, Clone)]
pub(super) struct IdentityDir {
    path: PathBuf,
}

impl IdentityDir {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Makes the directory if need be, and closes it to all but its owner.
    pub(super) fn create(path: &Path) -> Result<Self, IdentityError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
            .map_err(|source| IdentityError::File { action: "create", path: path.to_owned(), source })?;
        Ok(Self::at(path))
    }

    pub(super) fn path(&self, file: IdentityFile) -> PathBuf {
        self.path.join(file.name())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.path
    }

    pub(super) fn has(&self, file: IdentityFile) -> bool {
        self.path(file).exists()
    }

    /// The first of the files that exists.
    pub(super) fn found(&self) -> Option<PathBuf> {
        IdentityFile::ALL.into_iter().find(|&file| self.has(file)).map(|file| self.path(file))
    }

    pub(super) fn certificates(&self, file: IdentityFile) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        let text = self.read(file)?;
        let damaged = |reason: String| IdentityError::Damaged { path: self.path(file), reason };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| damaged(error.to_string()))?;
        if certificates.is_empty() {
            Err(damaged("there is no certificate in it".to_owned()))
        } else {
            Ok(certificates)
        }
    }

    pub(super) fn key(&self, file: IdentityFile) -> Result<PrivateKey, IdentityError> {
        read_key(&self.path(file))
    }

    /// The key in `file`; a new one if there is none yet.
    pub(super) fn kept_key(&self, file: IdentityFile) -> Result<PrivateKey, IdentityError> {
        if self.has(file) {
            return self.key(file);
        }
        let key = PrivateKey::generate()?;
        self.add_key(file, &key)?;
        Ok(key)
    }

    /// Puts a file in the place of another.
    pub(super) fn rename(&self, from: IdentityFile, to: IdentityFile) -> Result<(), IdentityError> {
        let renamed = fs::rename(self.path(from), self.path(to)).and_then(|()| File::open(&self.path)?.sync_all());
        renamed.map_err(|source| self.error("replace", to, source))
    }

    /// Writes a key that is not there yet.
    pub(super) fn add_key(&self, file: IdentityFile, key: &PrivateKey) -> Result<(), IdentityError> {
        self.write(file, key.to_pem().as_bytes(), Existing::Refuse)
    }

    pub(super) fn add_certificates(
        &self,
        file: IdentityFile,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), IdentityError> {
        self.write(file, certificates_pem(chain).as_bytes(), Existing::Refuse)
    }

    /// Writes certificates over those of an earlier time.
    pub(super) fn replace_certificates(
        &self,
        file: IdentityFile,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), IdentityError> {
        self.write(file, certificates_pem(chain).as_bytes(), Existing::Replace)
    }

    fn read(&self, file: IdentityFile) -> Result<Vec<u8>, IdentityError> {
        read(&self.path(file))
    }

    /// Whole and durable, or not at all: a temporary file with the final mode from its first byte on, then linked or
    /// renamed into place.
    fn write(&self, file: IdentityFile, contents: &[u8], existing: Existing) -> Result<(), IdentityError> {
        let temporary = self.path.join(format!(".{}.{}", file.name(), HEXLOWER.encode(&random::<8>()?)));
        let path = self.path(file);
        let written = write_synced(&temporary, contents, file.mode()).and_then(|()| match existing {
            Existing::Refuse => fs::hard_link(&temporary, &path),
            Existing::Replace => fs::rename(&temporary, &path),
        });
        if existing == Existing::Refuse || written.is_err() {
            let _ = fs::remove_file(&temporary); // best effort: what matters is reported below
        }
        match written.and_then(|()| File::open(&self.path)?.sync_all()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(IdentityError::Exists { path }),
            Err(source) => Err(self.error("write", file, source)),
        }
    }

    fn error(&self, action: &'static str, file: IdentityFile, source: io::Error) -> IdentityError {
        IdentityError::File { action, path: self.path(file), source }
    }
}

/// The private key in the file at `path`, if only those can read it whom the administrator lets.
pub(super) fn read_key(path: &Path) -> Result<PrivateKey, IdentityError> {
    let unreadable = |source| IdentityError::File { action: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    // The group is the administrator's choice: Kubernetes' fsGroup, for one, adds it to every file of a volume.
    if mode & 0o007 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let reason = "there is no Ed25519 key in it".to_owned();
    PrivateKey::from_pem(&read(path)?).ok_or_else(|| IdentityError::Damaged { path: path.to_owned(), reason })
}

/// All of a small file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|open| open.take(FILE_MAX).read_to_end(&mut text));
    read.map_err(|source| IdentityError::File { action: "read", path: path.to_owned(), source })?;
    Ok(text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refuse,
    Replace,
}

/// Writes a file that is not there yet and that anybody may read.
pub(super) fn write_new(path: &Path, contents: &[u8]) -> Result<(), IdentityError> {
    write_synced(path, contents, 0o644).map_err(|source| IdentityError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn write_synced(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn certificates_pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
}
