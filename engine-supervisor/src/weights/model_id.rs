//! Names of models, and the parts of a hub's names that become paths: each is checked before it does.

use std::fmt;

use super::WeightsError;

/// Longest name of a repository, as the hub has it.
const REPO_MAX: usize = 96;
/// Longest branch or tag that is looked at.
const REVISION_MAX: usize = 255;

/// A repository of the hub: `organisation/name` or `name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Repo(String);

/// What a spec's `model` names at the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelId {
    pub(super) repo: Repo,
    /// Which GGUF of the repository.
    pub(super) gguf: Option<GgufChoice>,
}

/// One GGUF model among several of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum GgufChoice {
    /// `organisation/name:Q4_K_M`, as llama.cpp and vLLM write it.
    Quantization(String),
    /// `organisation/name/path/of.gguf`.
    File(String),
}

/// A branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HubRevision(String);

/// What a revision is: forty hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Commit(String);

/// The name of a file's content: SHA-256 of a large file, Git's SHA-1 of a small one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlobName(String);

impl Repo {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let valid = text.len() <= REPO_MAX && parts.by_ref().take(2).all(is_name) && parts.next().is_none();
        valid.then(|| Self(text.to_owned()))
    }

    /// From the name of its directory in the cache.
    pub(super) fn from_folder(folder: &str) -> Option<Self> {
        Self::parse(&folder.strip_prefix("models--")?.replacen("--", "/", 1))
    }

    pub(super) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The hub's rules; `--` stands for `/` in the cache.
fn is_name(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(['.', '-'])
        && !part.ends_with(['.', '-'])
        && !part.contains("--")
        && !part.contains("..")
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl ModelId {
    pub(super) fn parse(model: &str) -> Result<Self, WeightsError> {
        let error = || WeightsError::NotAModel(model.to_owned());
        if let Some((repo, quantization)) = model.split_once(':') {
            let repo = Repo::parse(repo).ok_or_else(error)?;
            let quantization = Some(quantization).filter(|text| is_name(text)).ok_or_else(error)?;
            return Ok(Self { repo, gguf: Some(GgufChoice::Quantization(quantization.to_owned())) });
        }
        if let Some(repo) = Repo::parse(model) {
            return Ok(Self { repo, gguf: None });
        }
        let (split, _) = model.match_indices('/').nth(1).ok_or_else(error)?;
        let (repo, file) = (&model[..split], &model[split + 1..]);
        let repo = Repo::parse(repo).ok_or_else(error)?;
        let is_gguf = file.ends_with(".gguf") && is_repo_path(file);
        let file = is_gguf.then(|| file.to_owned()).ok_or_else(error)?;
        Ok(Self { repo, gguf: Some(GgufChoice::File(file)) })
    }
}

impl HubRevision {
    pub(super) fn main() -> Self {
        Self("main".to_owned())
    }

    /// The newest of the main branch unless one is named.
    pub(super) fn parse(revision: Option<&str>) -> Result<Self, WeightsError> {
        let Some(revision) = revision else { return Ok(Self::main()) };
        let valid = revision.len() <= REVISION_MAX && !revision.starts_with('-') && is_repo_path(revision);
        valid.then(|| Self(revision.to_owned())).ok_or_else(|| WeightsError::NotARevision(revision.to_owned()))
    }

    /// The commit, if it names one and so can never mean another.
    pub(super) fn commit(&self) -> Option<Commit> {
        Commit::parse(&self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `path` stays below the directory that it is joined to.
pub(super) fn is_repo_path(path: &str) -> bool {
    const DEPTH_MAX: usize = 8;
    let sane = |part: &str| {
        !part.is_empty() && part.len() < 256 && part != "." && part != ".." && !part.contains(['\\', '\0', '\n'])
    };
    path.split('/').all(sane) && path.split('/').count() <= DEPTH_MAX
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl Commit {
    pub(super) fn parse(text: &str) -> Option<Self> {
        (text.len() == 40 && is_hex(text)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl BlobName {
    pub(super) fn parse(text: &str) -> Option<Self> {
        (matches!(text.len(), 40 | 64) && is_hex(text)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HubRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_repositories_with_or_without_a_gguf() {
        let parse = |model| ModelId::parse(model).ok().map(|id| (id.repo.0, id.gguf));
        assert_eq!(parse("gpt2"), Some(("gpt2".into(), None)));
        assert_eq!(parse("Qwen/Qwen2.5-7B"), Some(("Qwen/Qwen2.5-7B".into(), None)));
        let quantization = GgufChoice::Quantization("UD-Q4_K_XL".into());
        assert_eq!(parse("a/b-GGUF:UD-Q4_K_XL"), Some(("a/b-GGUF".into(), Some(quantization))));
        let file = GgufChoice::File("q4/b.gguf".into());
        assert_eq!(parse("a/b/q4/b.gguf"), Some(("a/b".into(), Some(file))));
        for bad in ["", "/", "a/", "/a", "a/b/c", "../b", "a/..", "a--b", "a/b/../../c.gguf", "a b", "a:", "a/b:../c"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn folders_are_those_of_hugging_face() {
        let repo = Repo::parse("Qwen/Qwen2.5-7B").unwrap();
        assert_eq!(repo.folder(), "models--Qwen--Qwen2.5-7B");
        assert_eq!(Repo::from_folder(&repo.folder()), Some(repo));
        assert_eq!(Repo::from_folder("models--gpt2"), Repo::parse("gpt2"));
        for other in ["datasets--a--b", "models--", "models--a--b--c", ".locks", "models--..--b"] {
            assert_eq!(Repo::from_folder(other), None, "{other}");
        }
    }

    #[test]
    fn nothing_that_a_hub_says_leaves_the_cache() {
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "a\0"] {
            assert!(!is_repo_path(bad), "{bad:?}");
        }
        assert!(is_repo_path("1_Pooling/config.json"));
        assert!(HubRevision::parse(Some("refs/pr/3")).is_ok());
        assert!(HubRevision::parse(Some("../main")).is_err());
        assert!(HubRevision::parse(Some("-main")).is_err());
        assert!(BlobName::parse(&"a".repeat(64)).is_some());
        assert!(BlobName::parse(&"../../../../../../../../../etc/passwd".repeat(2)[..40]).is_none());
        assert!(Commit::parse(&"A".repeat(40)).is_none());
    }
}
