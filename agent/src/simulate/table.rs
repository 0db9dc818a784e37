//! Tables of comma-separated values, as far as ours need it: a head, no quotes.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use crate::admin::{Code, Problem};

/// Largest table, unpacked: a year of rounds of ten minutes in a hundred zones has half of it.
const BYTES_MAX: u64 = 512 << 20;

/// First bytes of what gzip has packed (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file that was read.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    text: String,
}

impl Table {
    /// Reads `path`, packed by gzip or not.
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| Problem::new(Code::Invalid, format!("cannot read {name}: {error}"));
        let packed = is_packed(path).map_err(failed)?;
        let file = BufReader::new(File::open(path).map_err(failed)?);
        let mut text = String::new();
        let read = if packed {
            MultiGzDecoder::new(file).take(BYTES_MAX + 1).read_to_string(&mut text)
        } else {
            file.take(BYTES_MAX + 1).read_to_string(&mut text)
        };
        if read.map_err(failed)? as u64 > BYTES_MAX {
            return Err(Problem::new(Code::Invalid, format!("{name} is larger than {} MiB", BYTES_MAX >> 20)));
        }
        Ok(Self { name, text })
    }

    /// The values of `columns` in every row, with the number of the row in the file.
    pub(super) fn rows<'a, const N: usize>(
        &'a self,
        columns: [&str; N],
    ) -> Result<Vec<(usize, [&'a str; N])>, Problem> {
        let mut lines = self.text.lines().enumerate();
        let heads: Vec<&str> = lines.next().map(|(_, line)| line.split(',').collect()).unwrap_or_default();
        let mut places = [0; N];
        for (place, column) in places.iter_mut().zip(columns) {
            *place = heads
                .iter()
                .position(|head| head.trim() == column)
                .ok_or_else(|| Problem::new(Code::Invalid, format!("{} has no column `{column}`", self.name)))?;
        }
        let row = |(index, line): (usize, &'a str)| {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let values = places.map(|place| cells.get(place).copied().unwrap_or_default());
            (index + 1, values)
        };
        Ok(lines.filter(|(_, line)| !line.trim().is_empty()).map(row).collect())
    }

    /// Something is wrong with `row`.
    pub(super) fn problem(&self, row: usize, what: &str) -> Problem {
        Problem::new(Code::Invalid, format!("{}, line {row}: {what}", self.name))
    }
}

fn is_packed(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(2).read_to_end(&mut head)?;
    Ok(head == GZIP_MAGIC)
}
