//! What is wanted, what of it is there, and what is missing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{HubRevision, ModelId, RepoCache, WeightsError, check_model};
use crate::weights::{
    choose::{Choice, choose},
    hub::{HubFile, Listing},
    model_id::Commit,
};

/// A model of the hub, as a spec names it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) id: ModelId,
    pub(super) revision: HubRevision,
}

/// What has to be done.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing.
    There(Local),
    /// Whatever is missing; possibly only links.
    Fetch(Fetch),
}

/// A model on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) commit: Commit,
    /// Its directory, or its GGUF file.
    pub(super) path: PathBuf,
}

/// A model at the hub, compared with what is here.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) wanted: Wanted,
    pub(super) commit: Commit,
    /// All files of it that engines need.
    files: Vec<HubFile>,
    /// Those that are not here.
    pub(super) missing: Vec<HubFile>,
    /// The one that the engine is to load, if it is a GGUF.
    gguf: Option<String>,
    needed: u64,
}

impl Wanted {
    /// `None` for an absolute path.
    pub(super) fn parse(model: &str, revision: Option<&str>) -> Result<Option<Self>, WeightsError> {
        if Path::new(model).is_absolute() {
            return Ok(None);
        }
        let revision = HubRevision::parse(revision)?;
        Ok(Some(Self { name: model.to_owned(), id: ModelId::parse(model)?, revision }))
    }

    /// Which of `paths` are meant.
    fn choose<'a>(&self, paths: &[&'a str]) -> Result<Choice<'a>, WeightsError> {
        choose(paths, self.id.gguf.as_ref())
            .map_err(|source| WeightsError::NoChoice { model: self.name.clone(), source })
    }
}

/// The model as it is on the disk, if it is whole. Blocks.
pub(super) fn local(cache: &Path, wanted: &Wanted) -> Option<Local> {
    let layout = RepoCache::new(cache, &wanted.id.repo);
    let commit = layout.resolve(&wanted.revision)?;
    let snapshot = layout.snapshot(&commit);
    let path = usable(&snapshot, wanted, &files_of(&snapshot)).ok()?;
    Some(Local { commit, path })
}

/// What an engine is to be given of `snapshot`.
fn usable(snapshot: &Path, wanted: &Wanted, files: &[String]) -> Result<PathBuf, WeightsError> {
    let paths: Vec<&str> = files.iter().map(String::as_str).collect();
    let choice = wanted.choose(&paths)?;
    let path = choice.gguf.map_or_else(|| snapshot.to_owned(), |gguf| snapshot.join(gguf));
    check_model(&path)?;
    Ok(path)
}

/// Files of a snapshot whose contents are there, by their paths in it; one directory deep, as GGUF models are kept.
fn files_of(snapshot: &Path) -> Vec<String> {
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let is_file = |path: &String| fs::metadata(snapshot.join(path)).is_ok_and(|metadata| metadata.is_file());
    let below = |name: &String| {
        let files = names(&snapshot.join(name)).into_iter();
        files.map(|file| format!("{name}/{file}")).collect::<Vec<_>>()
    };
    let root = names(snapshot);
    root.iter().flat_map(below).chain(root.iter().cloned()).filter(is_file).collect()
}

impl Fetch {
    /// Compares sizes. Blocks.
    pub(super) fn new(cache: &Path, wanted: Wanted, listing: &Listing) -> Result<Self, WeightsError> {
        let layout = RepoCache::new(cache, &wanted.id.repo);
        let paths: Vec<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
        let choice = wanted.choose(&paths)?;
        let gguf = choice.gguf.map(str::to_owned);
        let is_chosen = |file: &&HubFile| choice.files.contains(&file.path.as_str());
        let files: Vec<HubFile> = listing.files.iter().filter(is_chosen).cloned().collect();
        // Two paths may have the same contents, which are fetched once.
        let contents: BTreeMap<_, _> = files.iter().map(|file| (&file.blob, file)).collect();
        let length = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let is_missing = |file: &HubFile| length(layout.blob(&file.blob)) != file.size || file.size == 0;
        let missing: Vec<HubFile> = contents.into_values().filter(|file| is_missing(file)).cloned().collect();
        let fetched = |file: &HubFile| length(layout.incomplete(&file.blob)).min(file.size);
        let needed = missing.iter().map(|file| file.size - fetched(file)).sum();
        Ok(Self { commit: listing.commit.clone(), wanted, files, missing, gguf, needed })
    }

    /// Bytes of the model.
    pub(super) fn total(&self) -> u64 {
        let contents: BTreeMap<_, _> = self.files.iter().map(|file| (&file.blob, file.size)).collect();
        contents.into_values().sum()
    }

    /// Bytes of it that are not here.
    pub(super) const fn needed(&self) -> u64 {
        self.needed
    }

    /// Makes the snapshot, once all contents are there, and checks it. The branch is written last: whoever follows it
    /// finds all. Blocks.
    pub(super) fn finish(&self, layout: &RepoCache) -> Result<Local, WeightsError> {
        let disk = |source| WeightsError::disk("write", layout.root(), source);
        for file in &self.files {
            layout.link(&self.commit, &file.path, &file.blob).map_err(disk)?;
        }
        let snapshot = layout.snapshot(&self.commit);
        let path = self.gguf.as_ref().map_or_else(|| snapshot.clone(), |gguf| snapshot.join(gguf));
        check_model(&path)?;
        layout.write_ref(&self.wanted.revision, &self.commit).map_err(disk)?;
        Ok(Local { commit: self.commit.clone(), path })
    }
}
