//! Frames as programs of each version send them: kept in `tests/golden/vN.txt`, a name and the bytes a line, and never changed.
//! A test of the room that owns the frames includes this file and says what each of them means.

use std::{fmt::Debug, fs, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use shoal_types::wire;

/// What is kept of one frame.
pub(super) struct Kept {
    name: &'static str,
    /// What it means.
    meaning: String,
    /// As this program sends it.
    sent: Vec<u8>,
    read: fn(&[u8]) -> Result<String, wire::WireError>,
}

/// The frame called `name`, which means `value`.
pub(super) fn kept<T: Serialize + DeserializeOwned + Debug>(name: &'static str, value: &T) -> Kept {
    let read = |frame: &[u8]| wire::decode::<T>(frame).map(|value| format!("{value:?}"));
    Kept { name, meaning: format!("{value:?}"), sent: wire::encode(value).unwrap(), read }
}

/// All frames of `room` that came with `version` are kept, are read as what they meant, and are sent as they were.
pub(super) fn check(room: &str, version: u8, frames: &[Kept]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|dir| dir.join("tests/golden").is_dir());
    let text = fs::read_to_string(root.unwrap().join(format!("tests/golden/v{version}.txt"))).unwrap();
    let lines: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix(room)?.strip_prefix('/')?.split_once(' ')).collect();
    for (name, hex) in &lines {
        let frame = frames.iter().find(|frame| frame.name == *name);
        let frame = frame.unwrap_or_else(|| panic!("{room}/{name} is kept, and nobody says what it means"));
        let bytes = unhex(hex);
        assert_eq!(
            (frame.read)(&bytes).as_ref(),
            Ok(&frame.meaning),
            "{room}/{name} of version {version} is read otherwise"
        );
        assert_eq!(frame.sent, bytes, "{room}/{name} of version {version} is sent otherwise");
    }
    let missing: Vec<String> = frames
        .iter()
        .filter(|frame| !lines.iter().any(|(name, _)| *name == frame.name))
        .map(|frame| format!("{room}/{} {}", frame.name, hex(&frame.sent)))
        .collect();
    assert!(missing.is_empty(), "new frames are to be kept in tests/golden/v{version}.txt:\n{}", missing.join("\n"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
