//! What a repository holds: Hugging Face's answer, of which only paths and names that are safe are taken over.

use serde::Deserialize;
use serde_json::Value;

use crate::weights::model_id::{BlobName, Commit, is_repo_path};

/// Most files of a repository.
const FILES_MAX: usize = 20_000;

/// What a repository holds at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::weights) struct Listing {
    pub(in crate::weights) commit: Commit,
    pub(in crate::weights) files: Vec<HubFile>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::weights) struct HubFile {
    pub(in crate::weights) path: String,
    pub(in crate::weights) size: u64,
    pub(in crate::weights) blob: BlobName,
}

/// The hub's answer, as far as it is read.
#[derive(Debug, Deserialize)]
pub(super) struct ModelInfo {
    sha: String,
    siblings: Vec<Sibling>,
    /// `false`, or how access is granted: `"auto"`, `"manual"`.
    #[serde(default)]
    gated: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    /// Git's name of a small file.
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl ModelInfo {
    pub(super) fn is_gated(&self) -> bool {
        self.gated.is_string() || self.gated == Value::Bool(true)
    }

    pub(super) fn listing(self) -> Result<Listing, String> {
        let commit = Commit::parse(&self.sha).ok_or_else(|| format!("`{}` is not a commit", self.sha))?;
        if self.siblings.len() > FILES_MAX {
            return Err(format!("it has over {FILES_MAX} files"));
        }
        let files = self.siblings.into_iter().map(Sibling::file).collect::<Result<_, _>>()?;
        Ok(Listing { commit, files })
    }
}

impl Sibling {
    fn file(self) -> Result<HubFile, String> {
        let path = self.rfilename;
        if !is_repo_path(&path) {
            return Err(format!("`{path}` is not a path in a repository"));
        }
        let (size, name) = match self.lfs {
            Some(lfs) => (Some(lfs.size), Some(lfs.sha256)),
            None => (self.size, self.blob_id),
        };
        let blob = name.as_deref().and_then(BlobName::parse);
        let (Some(size), Some(blob)) = (size, blob) else { return Err(format!("`{path}` has no size or no hash")) };
        Ok(HubFile { path, size, blob })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(file: &str) -> Result<Listing, String> {
        let sha = "a".repeat(40);
        let text = format!(r#"{{"sha": "{sha}", "private": false, "siblings": [{file}]}}"#);
        serde_json::from_str::<ModelInfo>(&text).unwrap().listing()
    }

    #[test]
    fn large_files_have_the_hash_of_their_content() {
        let (git, sha256) = ("b".repeat(40), "c".repeat(64));
        let small = format!(r#"{{"rfilename": "config.json", "size": 5, "blobId": "{git}"}}"#);
        let file = &listing(&small).unwrap().files[0];
        assert_eq!((file.size, file.blob.as_str()), (5, git.as_str()));
        let large = format!(
            r#"{{"rfilename": "m.safetensors", "size": 7, "blobId": "{git}",
                "lfs": {{"sha256": "{sha256}", "size": 7, "pointerSize": 134}}}}"#
        );
        let file = &listing(&large).unwrap().files[0];
        assert_eq!((file.size, file.blob.as_str()), (7, sha256.as_str()));
    }

    #[test]
    fn lists_that_would_lead_elsewhere_are_not_understood() {
        let git = "b".repeat(40);
        for file in [
            format!(r#"{{"rfilename": "../../x", "size": 5, "blobId": "{git}"}}"#),
            format!(r#"{{"rfilename": "/etc/x", "size": 5, "blobId": "{git}"}}"#),
            r#"{"rfilename": "x", "size": 5, "blobId": "../../x"}"#.to_owned(),
            format!(r#"{{"rfilename": "x", "blobId": "{git}"}}"#),
        ] {
            assert!(listing(&file).is_err(), "{file}");
        }
    }

    #[test]
    fn gated_is_a_word_or_false() {
        let gated = |value: &str| {
            let text = format!(r#"{{"sha": "", "siblings": [], "gated": {value}}}"#);
            serde_json::from_str::<ModelInfo>(&text).unwrap().is_gated()
        };
        assert!(gated("\"manual\"") && gated("\"auto\"") && !gated("false") && !gated("null"));
    }
}
