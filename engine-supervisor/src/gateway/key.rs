//! Keys: files on the node, named by a spec, never in it.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// Longest key file, in bytes. Signed tokens are the longest keys there are, and have two or three thousand.
const KEY_MAX: u64 = 8 << 10;

/// Why there is no key. Says nothing of what the file holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The configuration names no directory.
    #[error("this node's configuration names no directory of keys (`engines.gateway.keyDirectory`)")]
    NoDirectory,
    /// A name that could lead out of the directory.
    #[error("`{0}` cannot be the name of a key file: only letters, digits and `-_.` can, and no `.` first")]
    Name(String),
    /// The file is not there or cannot be read.
    #[error("cannot read the key file {path}: {reason}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The file holds something else.
    #[error("the key file {path} {problem}")]
    NoKey {
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A file that holds a key, and may hold another one tomorrow.
#[derive(Debug, Clone)]
pub(crate) struct KeyFile(PathBuf);

impl KeyFile {
    /// The file `name` of `directory`.
    pub(crate) fn named(directory: &Path, name: &str) -> Result<Self, KeyError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(KeyError::Name(name.to_owned()));
        }
        Ok(Self(directory.join(name)))
    }

    /// The key as it is now, without the line end that editors add. Blocks for as long as the file system does.
    pub(crate) fn read(&self) -> Result<String, KeyError> {
        let unreadable = |error: std::io::Error| KeyError::Unreadable { path: self.shown(), reason: error.to_string() };
        // Links are followed: that is how Kubernetes mounts secrets. Opening a pipe would wait for its other end.
        if !fs::metadata(&self.0).map_err(unreadable)?.is_file() {
            return Err(self.no_key("is not a file"));
        }
        let mut bytes = Vec::new();
        File::open(&self.0).and_then(|file| file.take(KEY_MAX + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
        if bytes.len() as u64 > KEY_MAX {
            return Err(self.no_key("is longer than a key"));
        }
        match str::from_utf8(&bytes).map(str::trim) {
            Ok("") => Err(self.no_key("is empty")),
            Ok(key) if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key.to_owned()),
            Ok(_) | Err(_) => Err(self.no_key("holds more than one word of ASCII, which cannot be sent as a key")),
        }
    }

    pub(crate) fn shown(&self) -> String {
        self.0.display().to_string()
    }

    fn no_key(&self, problem: &'static str) -> KeyError {
        KeyError::NoKey { path: self.shown(), problem }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(content: &[u8]) -> Result<String, KeyError> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("key"), content).unwrap();
        KeyFile::named(directory.path(), "key").unwrap().read()
    }

    fn problem(content: &[u8]) -> &'static str {
        match read(content) {
            Err(KeyError::NoKey { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_one_word() {
        assert_eq!(read(b" sk-1/=+\r\n").unwrap(), "sk-1/=+");
        assert_eq!(problem(b"\n"), "is empty");
        assert_eq!(problem(&[b'x'; 8193]), "is longer than a key");
        for several in [b"a b".as_slice(), b"a\nb", b"a\r\nx-header: b", "schlüssel".as_bytes(), &[0xff, 0xfe], b"a\0b"]
        {
            assert!(problem(several).starts_with("holds more than one word"), "{several:?}");
        }
    }

    #[test]
    fn a_name_stays_in_the_directory() {
        for name in ["", ".", "..", "../key", "a/b", "/etc/passwd", ".hidden", "a\0", "a b", "schlüssel"] {
            let refused = KeyFile::named(Path::new("/keys"), name).map(|file| file.shown());
            assert_eq!(refused, Err(KeyError::Name(name.to_owned())));
        }
        assert_eq!(KeyFile::named(Path::new("/keys"), "openai_2.key").unwrap().shown(), "/keys/openai_2.key");
    }

    #[test]
    fn a_mounted_secret_is_read_through_its_links_and_a_directory_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("..data")).unwrap();
        fs::write(directory.path().join("..data/key"), "k").unwrap();
        symlink("..data/key", directory.path().join("key")).unwrap();
        assert_eq!(KeyFile::named(directory.path(), "key").unwrap().read().unwrap(), "k");
        fs::create_dir(directory.path().join("other")).unwrap();
        let other = KeyFile::named(directory.path(), "other").unwrap().read().unwrap_err();
        assert!(other.to_string().ends_with("other is not a file"), "{other}");
        let missing = KeyFile::named(directory.path(), "missing").unwrap().read().unwrap_err();
        assert!(matches!(missing, KeyError::Unreadable { .. }), "{missing}");
    }
}
