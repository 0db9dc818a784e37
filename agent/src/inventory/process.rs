//! Names of processes on GPUs, for people who look for the one that is not ours.

use std::{fs::File, io::Read as _, path::Path};

/// Most of a name that is read and shown.
const NAME_MAX: u64 = 64;

/// What the process calls itself; else the program that it runs; `None` if it cannot be looked at.
pub(super) fn name(pid: u32) -> Option<String> {
    let own = head(&format!("/proc/{pid}/comm")).and_then(|text| shown(&text));
    own.or_else(|| {
        let line = head(&format!("/proc/{pid}/cmdline"))?;
        let program = line.split('\0').next()?;
        shown(Path::new(program).file_name()?.to_str()?)
    })
}

fn head(path: &str) -> Option<String> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(NAME_MAX).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// A process may call itself anything, and this goes to terminals.
fn shown(text: &str) -> Option<String> {
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    (!clean.is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_name_that_it_gave_itself() {
        // The name of the thread that runs the tests' main function, not of this one.
        let own = std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(name(std::process::id()).as_deref(), Some(own.trim()));
        assert_eq!(name(u32::MAX), None);
    }

    #[test]
    fn names_cannot_write_to_terminals() {
        assert_eq!(shown("a\u{1b}[2Jb\n").as_deref(), Some("a[2Jb"));
        assert_eq!(shown("\n"), None);
    }
}
