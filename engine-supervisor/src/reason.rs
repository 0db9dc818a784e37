//! Why an engine ended, in its own words: the few lines of hundreds that say it.

use std::io;

use rustix::io::Errno;

use crate::{LogLine, LogSource};

/// Lines that are quoted.
const LINES: usize = 2;
/// vLLM's last words for any failure of its core or a worker; the cause is above them.
const NO_CAUSE: [&str; 2] = ["Engine core initialization failed", "WorkerProc initialization failed"];

/// The text of a line that the engine wrote.
pub(crate) fn of_engine(line: LogLine) -> Option<String> {
    match line.source {
        LogSource::Stdout | LogSource::Stderr => Some(line.text.to_string()),
        LogSource::Supervisor => None,
    }
}

/// The last lines that name an error; where none does, the last lines.
pub(crate) fn last_words(lines: &[String]) -> String {
    let said: Vec<&str> =
        lines.iter().map(|line| line.trim()).filter(|line| line.chars().any(char::is_alphanumeric)).collect();
    let errors: Vec<&str> = said
        .iter()
        .copied()
        .filter(|line| names_error(line) && !NO_CAUSE.iter().any(|text| line.contains(text)))
        .collect();
    let chosen = if errors.is_empty() { said } else { errors };
    let mut last: Vec<&str> = Vec::new();
    for line in chosen.into_iter().rev() {
        if last.len() < LINES && !last.contains(&line) {
            last.push(line);
        }
    }
    last.reverse();
    last.join(" | ")
}

fn names_error(line: &str) -> bool {
    ["Error: ", "error: ", "ERROR: ", "Exception: ", "panicked at", "fatal", "FATAL"]
        .iter()
        .any(|mark| line.contains(mark))
}

/// Whether executing would fail in the same way again.
pub(crate) fn is_permanent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
        || error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        last_words(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_cause_is_quoted_and_not_what_vllm_says_of_every_failure() {
        let log = "INFO Starting to load model\n\
            (EngineCore pid=9) ValueError: Free memory on device is less than desired GPU memory utilization\n\
            Traceback (most recent call last):\n\
              File \"/x.py\", line 3, in <module>\n\
                ^^^^^^\n\
            RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n";
        assert_eq!(
            words(log),
            "(EngineCore pid=9) ValueError: Free memory on device is less than desired GPU memory utilization"
        );
    }

    #[test]
    fn without_an_error_the_last_lines_speak() {
        assert_eq!(words("one\ntwo\n\n----\nthree\nthree\n"), "two | three");
        assert_eq!(words(""), "");
    }
}
