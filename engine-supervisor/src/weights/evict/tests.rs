use std::{
    fs::{File, FileTimes},
    os::unix::fs::symlink,
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::weights::inventory::scan;

/// Claims that hold these.
#[derive(Default)]
struct Held(Vec<(&'static str, Option<char>)>);

impl Holds for Held {
    fn holds(&self, repo: &Repo, commit: &Commit) -> bool {
        self.0.iter().any(|(held, digit)| *held == repo.as_str() && digit.is_none_or(|digit| name(digit) == *commit))
    }

    fn holds_any(&self, repo: &Repo) -> bool {
        self.0.iter().any(|(held, _)| *held == repo.as_str())
    }
}

fn name(digit: char) -> Commit {
    Commit::parse(&digit.to_string().repeat(40)).unwrap()
}

fn blob(digit: char) -> BlobName {
    BlobName::parse(&digit.to_string().repeat(40)).unwrap()
}

fn repo(name: &str) -> Repo {
    Repo::parse(name).unwrap()
}

/// A revision whose files are those blobs, of so many bytes, used at that second.
fn add(cache: &Path, model: &str, commit: char, blobs: &[(char, usize)], used: u64) -> RepoCache {
    let layout = RepoCache::new(cache, &repo(model));
    layout.prepare().unwrap();
    for (digit, bytes) in blobs {
        fs::write(layout.blob(&blob(*digit)), vec![0; *bytes]).unwrap();
        layout.link(&name(commit), &format!("{digit}.bin"), &blob(*digit)).unwrap();
    }
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(used));
    File::open(layout.snapshot(&name(commit))).unwrap().set_times(times).unwrap();
    layout
}

fn order(cache: &Path, held: Held) -> Vec<(String, Part, u64)> {
    let victims = victims(&scan(cache).unwrap(), &held).into_iter();
    victims.map(|victim| (victim.repo.to_string(), victim.part, victim.bytes)).collect()
}

fn snapshot(model: &str, commit: char, bytes: u64) -> (String, Part, u64) {
    (model.to_owned(), Part::Snapshot(name(commit)), bytes)
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_held_never() {
    let cache = tempfile::tempdir().unwrap();
    add(cache.path(), "a/new", '1', &[('a', 10)], 300);
    add(cache.path(), "a/old", '1', &[('a', 20)], 100);
    add(cache.path(), "a/held", '1', &[('a', 30)], 50);
    add(cache.path(), "a/held", '2', &[('b', 40)], 200);
    let expected = [snapshot("a/old", '1', 20), snapshot("a/held", '2', 40), snapshot("a/new", '1', 10)];
    assert_eq!(order(cache.path(), Held(vec![("a/held", Some('1'))])), expected);
    let expected = [snapshot("a/old", '1', 20), snapshot("a/new", '1', 10)];
    assert_eq!(order(cache.path(), Held(vec![("a/held", None)])), expected);
}

#[test]
fn contents_that_another_revision_has_stay() {
    let cache = tempfile::tempdir().unwrap();
    add(cache.path(), "a/b", '1', &[('a', 10), ('b', 5)], 100);
    let layout = add(cache.path(), "a/b", '2', &[('a', 10), ('c', 7)], 200);
    layout.write_ref(&crate::weights::model_id::HubRevision::parse(Some("old")).unwrap(), &name('1')).unwrap();
    layout.write_ref(&crate::weights::model_id::HubRevision::parse(None).unwrap(), &name('2')).unwrap();
    assert_eq!(order(cache.path(), Held::default()), [snapshot("a/b", '1', 5), snapshot("a/b", '2', 17)]);

    remove(cache.path(), &repo("a/b"), &Part::Snapshot(name('1'))).unwrap();
    assert!(!layout.snapshot(&name('1')).exists() && !layout.refs().join("old").exists());
    assert!(!layout.blob(&blob('b')).exists());
    let files: Vec<_> =
        fs::read_dir(layout.snapshot(&name('2'))).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(files.len() == 2 && files.iter().all(|file| fs::read(file).is_ok()), "{files:?}");
    assert!(layout.refs().join("main").exists());

    remove(cache.path(), &repo("a/b"), &Part::Snapshot(name('2'))).unwrap();
    assert!(!layout.root().exists());
    remove(cache.path(), &repo("a/b"), &Part::Snapshot(name('2'))).unwrap();
}

#[test]
fn leftovers_of_a_fetch_go_when_nobody_fetches() {
    let cache = tempfile::tempdir().unwrap();
    let layout = add(cache.path(), "a/b", '1', &[('a', 10)], 100);
    fs::write(layout.incomplete(&blob('b')), vec![0; 6]).unwrap();
    fs::write(layout.blob(&blob('c')), vec![0; 3]).unwrap();
    fs::write(layout.blobs().join("notes.txt"), "not ours").unwrap();
    let leftovers = ("a/b".to_owned(), Part::Leftovers, 9);
    assert_eq!(order(cache.path(), Held::default()), [snapshot("a/b", '1', 10), leftovers.clone()]);
    assert_eq!(order(cache.path(), Held(vec![("a/b", Some('1'))])), []);

    remove(cache.path(), &repo("a/b"), &Part::Leftovers).unwrap();
    let left: BTreeSet<_> = fs::read_dir(layout.blobs()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["a".repeat(40).into(), "notes.txt".into()].into());
}

#[test]
fn nothing_outside_the_cache_is_touched() {
    let (cache, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let precious = add(outside.path(), "a/precious", '1', &[('a', 10)], 1);
    // A repository that is a link, a snapshot that is one, and one inside a snapshot.
    symlink(precious.root(), cache.path().join(repo("a/linked").folder())).unwrap();
    let layout = add(cache.path(), "a/b", '1', &[('a', 10)], 100);
    symlink(precious.snapshot(&name('1')), layout.snapshot(&name('2'))).unwrap();
    symlink(precious.root(), layout.snapshot(&name('1')).join("directory")).unwrap();
    symlink(precious.blob(&blob('a')), layout.snapshot(&name('1')).join("file")).unwrap();
    fs::create_dir(cache.path().join("datasets--a--b")).unwrap();

    for (model, part, _) in order(cache.path(), Held::default()) {
        assert_ne!(model, "a/linked");
        remove(cache.path(), &repo(&model), &part).unwrap();
    }
    remove(cache.path(), &repo("a/b"), &Part::Snapshot(name('2'))).unwrap();
    assert!(!layout.snapshot(&name('1')).exists());
    assert_eq!(fs::read(precious.snapshot(&name('1')).join("a.bin")).unwrap(), [0; 10]);
    assert!(cache.path().join("datasets--a--b").exists());
}
