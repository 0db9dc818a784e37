//! Columns as kubectl prints them: upper-case heads, three spaces between.

use std::{fmt, time::Duration};

/// A table of text.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads; `wide` heads are only there where `is_wide`.
    pub(crate) fn new(heads: &[&str], wide: &[&str], is_wide: bool) -> Self {
        let wide: &[&str] = if is_wide { wide } else { &[] };
        Self { rows: vec![heads.iter().chain(wide).map(|&head| head.to_owned()).collect()] }
    }

    /// Adds a row; cells beyond the heads are left out, which is how wide ones disappear.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let columns = self.rows.first().map_or(0, Vec::len);
        self.rows.push(cells.into_iter().take(columns).collect());
    }

    /// Adds the rows of a table with the same heads.
    pub(super) fn append(&mut self, other: Self) {
        self.rows.extend(other.rows.into_iter().skip(1));
    }

    /// Its heads and its rows.
    pub(super) fn into_parts(self) -> (Vec<String>, Vec<Vec<String>>) {
        let mut rows = self.rows.into_iter();
        (rows.next().unwrap_or_default(), rows.collect())
    }

    /// The cells of the rows but for those below the heads `without`.
    pub(super) fn cells_without(self, without: &[&str]) -> Vec<String> {
        let (heads, rows) = self.into_parts();
        let kept = |row: Vec<String>| {
            let cells = row.into_iter().zip(&heads);
            cells.filter(|(_, head)| !without.contains(&head.as_str())).map(|(cell, _)| cell).collect::<Vec<_>>()
        };
        rows.into_iter().flat_map(kept).collect()
    }

    /// As text whose columns are at least as wide as `widths`, which then says how wide they have become.
    pub(super) fn lines(&self, widths: &mut Vec<usize>) -> String {
        widths.resize(self.rows.first().map_or(0, Vec::len), 0);
        for row in &self.rows {
            row.iter().zip(&mut *widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
        }
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row.iter().zip(&*widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            format!("{}\n", cells.join("   ").trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(&mut Vec::new()))
    }
}

/// `45s`, `12m`, `3h`, `8d`: one unit, as kubectl shows ages.
pub(super) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The text, or `-`.
pub(super) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_wide_ones_come_on_demand() {
        let print = |wide| {
            let mut table = Table::new(&["NAME", "N"], &["ID"], wide);
            table.row(["long-name".to_owned(), "1".to_owned(), "x".to_owned()]);
            table.to_string()
        };
        assert_eq!(print(false), "NAME        N\nlong-name   1\n");
        assert_eq!(print(true), "NAME        N   ID\nlong-name   1   x\n");
    }

    #[test]
    fn ages_have_one_unit() {
        assert_eq!(age(Duration::from_secs(119)), "119s");
        assert_eq!(age(Duration::from_secs(120)), "2m");
        assert_eq!(age(Duration::from_secs(200_000)), "2d");
    }
}
