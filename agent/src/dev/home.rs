//! The directory that the nodes of `shoal dev` live in.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::process::getuid;

use super::record;
use crate::{
    admin::{Code, Problem},
    cli::DevArgs,
};

/// Keys are in there.
const PRIVATE: u32 = 0o700;

/// The directory of a mesh that is being started. No other mesh runs in it.
#[derive(Debug)]
pub(super) enum Home {
    /// Goes with the value.
    Temporary(tempfile::TempDir),
    /// Stays.
    Given(PathBuf),
}

impl Home {
    pub(super) fn new(args: &DevArgs) -> Result<Self, Problem> {
        let unusable = |error| Problem::new(Code::Failed, format!("cannot make a directory for the mesh: {error}"));
        match (&args.dir, args.detach) {
            (None, false) => {
                let mut builder = tempfile::Builder::new();
                builder.prefix("shoal-dev-").permissions(Permissions::from_mode(PRIVATE));
                builder.tempdir().map(Self::Temporary).map_err(unusable)
            }
            (None, true) => default_dir().and_then(made_afresh).map(Self::Given),
            (Some(dir), _) => {
                fs::create_dir_all(dir).map_err(unusable)?;
                let dir = dir.canonicalize().map_err(unusable)?;
                record::refuse_if_running(&dir)?;
                Ok(Self::Given(dir))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Given(dir) => dir,
        }
    }
}

/// The directory of a detached mesh that was given none: one per user, so that `shoal dev stop` needs no argument.
///
/// # Errors
/// If somebody else may have put it there, or can write to it.
pub(super) fn default_dir() -> Result<PathBuf, Problem> {
    let dir = default_path(env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from), &env::temp_dir());
    require_private(&dir)?;
    Ok(dir)
}

fn default_path(runtime_dir: Option<PathBuf>, temporary: &Path) -> PathBuf {
    // With sudo it may be that of another user.
    let own = |dir: &PathBuf| {
        dir.is_absolute() && fs::metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == getuid().as_raw())
    };
    match runtime_dir.filter(own) {
        Some(dir) => dir.join("shoal-dev"),
        None => temporary.join(format!("shoal-dev-{}", getuid().as_raw())),
    }
}

/// Its name can be guessed, so others could make it first, in a directory that all may write to.
fn require_private(dir: &Path) -> Result<(), Problem> {
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o077 == 0 => Ok(()),
        Ok(_) => {
            let message = format!("{} is not a directory that this user alone may enter", dir.display());
            Err(Problem::new(Code::Forbidden, message).hint("look who made it, remove it, or give another --dir"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Problem::new(Code::Failed, format!("cannot look at {}: {error}", dir.display()))),
    }
}

fn made_afresh(dir: PathBuf) -> Result<PathBuf, Problem> {
    record::refuse_if_running(&dir)?;
    // What a mesh that was killed left behind is not worth keeping.
    let _ = fs::remove_dir_all(&dir);
    // Fails if there is one, so that it is ours from the beginning.
    let made = DirBuilder::new().mode(PRIVATE).create(&dir);
    made.map_err(|error| Problem::new(Code::Failed, format!("cannot make {}: {error}", dir.display())))?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_directory_is_used_if_it_is_ours() {
        let (runtime, temporary) = (tempfile::tempdir().unwrap(), Path::new("/var/tmp"));
        let fallback = temporary.join(format!("shoal-dev-{}", getuid().as_raw()));
        assert_eq!(default_path(Some(runtime.path().to_owned()), temporary), runtime.path().join("shoal-dev"));
        for unusable in [None, Some(runtime.path().join("missing")), Some(PathBuf::from("."))] {
            assert_eq!(default_path(unusable, temporary), fallback);
        }
    }

    #[test]
    fn a_directory_that_others_may_enter_or_have_made_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let (dir, link, file) = (parent.path().join("dir"), parent.path().join("link"), parent.path().join("file"));
        require_private(&dir).expect("it is made later");
        assert_eq!(made_afresh(dir.clone()).unwrap(), dir);
        require_private(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        for refused in [&link, &file] {
            assert_eq!(require_private(refused).unwrap_err().code, Code::Forbidden);
        }
        for mode in [0o750, 0o701, 0o777] {
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            assert_eq!(require_private(&dir).unwrap_err().code, Code::Forbidden, "{mode:o}");
        }
    }

    #[test]
    fn what_is_left_of_a_killed_mesh_goes() {
        let parent = tempfile::tempdir().unwrap();
        let dir = made_afresh(parent.path().join("dir")).unwrap();
        fs::write(dir.join("old"), "").unwrap();
        assert!(!made_afresh(dir).unwrap().join("old").exists());
    }
}
