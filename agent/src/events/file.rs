//! Events on disk: a line of JSON each, in two files of bounded size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::{info, warn};

use super::event::Event;

/// From which size on a new file is begun. Two of them hold more than is kept in memory.
const FILE_MAX: u64 = 4 << 20;

/// The newer file, and the one before it.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    before: PathBuf,
    /// Whether the last attempt to write failed, so that a full disk is told of once.
    failing: bool,
}

impl EventFile {
    /// The files of `state_dir`, and what they hold, the newest last. A line that is damaged is left out. Blocks.
    pub(super) fn open(state_dir: &Path) -> (Self, Vec<Event>) {
        let file =
            Self { path: state_dir.join("events.jsonl"), before: state_dir.join("events.1.jsonl"), failing: false };
        let events = [&file.before, &file.path].into_iter().flat_map(|path| read(path)).collect();
        (file, events)
    }

    /// Adds `events`. What cannot be written is in memory only. Blocks.
    pub(super) fn append(&mut self, events: &[Arc<Event>]) {
        if events.is_empty() {
            return;
        }
        match (self.write(events), self.failing) {
            (Err(error), false) => {
                self.failing = true;
                warn!(path = %self.path.display(), %error, "Events cannot be written to disk: a restart will forget them");
            }
            (Ok(()), true) => {
                self.failing = false;
                info!(path = %self.path.display(), "Events are written to disk again");
            }
            (Err(_), true) | (Ok(()), false) => {}
        }
    }

    fn write(&self, events: &[Arc<Event>]) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        if file.metadata()?.len() >= FILE_MAX {
            fs::rename(&self.path, &self.before)?;
            file = File::create(&self.path)?;
        }
        let mut lines = Vec::new();
        for event in events {
            // The last line may be half a one, which a crash or a full disk left.
            lines.push(b'\n');
            serde_json::to_writer(&mut lines, event)?;
        }
        lines.push(b'\n');
        file.write_all(&lines)
    }
}

fn read(path: &Path) -> Vec<Event> {
    let file = match File::open(path) {
        Ok(file) => file.take(2 * FILE_MAX),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(path = %path.display(), %error, "Events of before cannot be read");
            }
            return Vec::new();
        }
    };
    let (mut events, mut damaged) = (Vec::new(), 0);
    for line in BufReader::new(file).split(b'\n') {
        match line.map(|line| if line.is_empty() { Ok(None) } else { serde_json::from_slice(&line).map(Some) }) {
            Ok(Ok(event)) => events.extend(event),
            Ok(Err(_)) => damaged += 1,
            Err(error) => {
                warn!(path = %path.display(), %error, "Events of before cannot all be read");
                break;
            }
        }
    }
    if damaged > 0 {
        warn!(path = %path.display(), damaged, "Some events of before are damaged");
    }
    events
}

#[cfg(test)]
mod tests {
    use shoal_types::UnixMillis;

    use super::{
        super::event::{Draft, Reason, Subject},
        *,
    };

    fn event(number: u64) -> Arc<Event> {
        Arc::new(Draft::new(Reason::Placed, Subject::mesh(), "x".repeat(900)).told(number, UnixMillis::default(), "a"))
    }

    fn numbers(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn half_a_line_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = EventFile::open(dir.path());
        file.append(&[event(1)]);
        OpenOptions::new().append(true).open(&file.path).unwrap().write_all(b"{\"number\": 2,").unwrap();
        file.append(&[event(3)]);
        assert_eq!(numbers(&EventFile::open(dir.path()).1), [1, 3]);
    }

    /// Rule 9: everything is bounded.
    #[test]
    fn two_files_of_bounded_size_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = EventFile::open(dir.path());
        for batch in 0..30 {
            let events: Vec<_> = (0..512).map(|number| event(batch * 512 + number)).collect();
            file.append(&events);
        }
        let sizes: Vec<u64> = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
        assert!(sizes.len() == 2 && sizes.iter().all(|&size| size < FILE_MAX + (1 << 20)), "{sizes:?}");
        let kept = numbers(&EventFile::open(dir.path()).1);
        assert!(kept.is_sorted() && kept.last() == Some(&(30 * 512 - 1)));
    }

    #[test]
    fn a_directory_that_refuses_is_survived() {
        let (mut file, events) = EventFile::open(Path::new("/nonexistent"));
        file.append(&[event(1)]);
        assert!(file.failing && events.is_empty());
    }
}
