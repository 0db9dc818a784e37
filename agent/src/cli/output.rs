//! How answers are printed.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use super::table::Table;
use crate::admin::{Code, Problem};

/// Formats of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For people, with more columns
    Wide,
    /// For scripts
    Json,
    /// For files
    Yaml,
}

impl Output {
    /// Prints `value` as JSON or YAML, or the table that `table` makes of it; its argument says whether it is wide.
    pub(crate) fn print<T: Serialize>(self, value: &T, table: impl FnOnce(bool) -> Table) -> Result<(), Problem> {
        let failed = |error: &dyn std::fmt::Display| Problem::new(Code::Failed, format!("cannot print: {error}"));
        let text = match self {
            Self::Table => table(false).to_string(),
            Self::Wide => table(true).to_string(),
            Self::Json => serde_json::to_string_pretty(value).map_err(|error| failed(&error))? + "\n",
            Self::Yaml => serde_saphyr::to_string(value).map_err(|error| failed(&error))?,
        };
        out(&text)
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn out(text: &str) -> Result<(), Problem> {
    out_bytes(text.as_bytes())
}

/// As [`out`], for what need not be UTF-8.
pub(super) fn out_bytes(bytes: &[u8]) -> Result<(), Problem> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::new(Code::Failed, format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line of progress or advice to standard error.
pub(crate) fn note(text: &str) {
    // Not `eprintln!`, which panics where nobody listens any more.
    let _ = writeln!(io::stderr(), "{text}");
}
