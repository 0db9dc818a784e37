//! From the bytes of a pipe to lines of bounded length.

/// Longest line that is kept, in bytes.
pub(crate) const LINE_MAX: usize = 2048;
/// Stands where the rest of a longer line was dropped.
const CUT: &str = "…";

/// Collects bytes until a line ends. `\r` ends one too: progress bars redraw themselves with it.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    line: Vec<u8>,
    cut: bool,
}

impl LineSplitter {
    /// The lines that `bytes` complete. Empty ones are left out.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, ended) = match part.split_last() {
                Some((b'\n' | b'\r', text)) => (text, true),
                _ => (part, false),
            };
            self.extend(text);
            if ended {
                lines.extend(self.finish());
            }
        }
        lines
    }

    /// What follows the last line end, once nothing more will come.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let mut line = String::from_utf8_lossy(&self.line).into_owned();
        if std::mem::take(&mut self.cut) {
            line.push_str(CUT);
        }
        self.line.clear();
        (!line.is_empty()).then_some(line)
    }

    fn extend(&mut self, text: &[u8]) {
        let room = LINE_MAX - self.line.len();
        self.cut |= text.len() > room;
        self.line.extend_from_slice(&text[..text.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_end_however_they_arrive() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.push(b"one\ntw"), ["one"]);
        assert_eq!(splitter.push(b"o\r\n\nthree"), ["two"]);
        assert_eq!(splitter.finish().as_deref(), Some("three"));
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut splitter = LineSplitter::default();
        for _ in 0..100 {
            assert!(splitter.push(&[b'x'; 1000]).is_empty());
        }
        let lines = splitter.push(b"\nnext\n");
        assert_eq!(lines[0].len(), LINE_MAX + CUT.len());
        assert!(lines[0].ends_with(CUT));
        assert_eq!(lines[1], "next", "the next line is whole");
    }
}
