//! Small files of the state directory, replaced whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use shoal_types::UnixMillis;

const GENERATION_FILE: &str = "generation";

/// Replaces the file at `path` so that a crash leaves the old or the new content. Blocks.
///
/// # Errors
/// Of the file system; the old content is then in place.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// A generation higher than any given out before for this state directory, on disk before it is used. It is the time
/// of the start, or one more than the last if the clock stepped back. Blocks.
///
/// # Errors
/// Of the file system. A file that holds no number is taken for one that was never written.
pub(crate) fn next_generation(state_dir: &Path, now: UnixMillis) -> io::Result<UnixMillis> {
    let path = state_dir.join(GENERATION_FILE);
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let next = now.as_millis().max(last + 1);
    replace(&path, next.to_string().as_bytes())?;
    Ok(UnixMillis::from_millis(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rise_even_when_the_clock_steps_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |millis| next_generation(dir.path(), UnixMillis::from_millis(millis)).unwrap().as_millis();
        assert_eq!(at(1_000), 1_000);
        assert_eq!(at(1_000), 1_001);
        assert_eq!(at(500), 1_002);
        assert_eq!(at(9_000), 9_000);
    }
}
