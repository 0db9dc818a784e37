//! `shoal get --watch`: a row for everything that is there, then one for each that changes.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use super::{
    client::Client,
    listed::Listed,
    output::{Output, out_bytes},
    select::Selection,
};
use crate::admin::Problem;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Columns that change all the time and are no news.
const RESTLESS: [&str; 4] = ["NEWS", "SINCE", "INFLIGHT", "RTT"];

/// Goes on until whoever reads has gone, or the daemon has.
pub(super) async fn watch<T: Listed>(
    client: &Client,
    selection: &Selection,
    first: Vec<T>,
    output: &Output,
) -> Result<(), Problem> {
    // What is named now may be deleted, which is what is waited for.
    let later = Selection { names: Vec::new(), ..selection.clone() };
    let named = |item: &T| selection.names.is_empty() || selection.names.iter().any(|name| item.is(name));
    let (mut seen, mut widths, mut list) = (Seen::default(), Vec::new(), first);
    loop {
        let (changed, gone) = seen.update(&list);
        let text = if output.is_for_people() {
            rows(&changed, &gone, matches!(output, Output::Wide), &mut widths)
        } else {
            changed.iter().map(|&item| output.render(item, |_| "")).collect::<Result<_, _>>()?
        };
        if !out_bytes(text.as_bytes())? {
            return Ok(());
        }
        sleep(EVERY).await;
        list = later.choose(client.get(T::PATH).await?)?;
        list.retain(named);
    }
}

/// What each row was when it was printed last.
#[derive(Debug, Default)]
struct Seen(BTreeMap<String, Vec<String>>);

impl Seen {
    /// Those that are new or different, and the names of those that are no more.
    fn update<'a, T: Listed>(&mut self, list: &'a [T]) -> (Vec<&'a T>, Vec<String>) {
        let rows = list.iter().map(|item| {
            let row = T::table(std::slice::from_ref(item), true).cells_without(&RESTLESS);
            (row.first().cloned().unwrap_or_default(), row, item)
        });
        let (mut now, mut changed) = (BTreeMap::new(), Vec::new());
        for (name, row, item) in rows {
            if self.0.get(&name) != Some(&row) {
                changed.push(item);
            }
            now.insert(name, row);
        }
        let before = std::mem::replace(&mut self.0, now);
        (changed, before.into_keys().filter(|name| !self.0.contains_key(name)).collect())
    }
}

/// A row for each, below a head the first time.
fn rows<T: Listed>(changed: &[&T], gone: &[String], wide: bool, widths: &mut Vec<usize>) -> String {
    let mut table = T::table(&[], wide);
    for &item in changed {
        table.append(T::table(std::slice::from_ref(item), wide));
    }
    for name in gone {
        table.row([name.clone(), "gone".to_owned()]);
    }
    let begins = widths.is_empty();
    let text = table.lines(widths);
    if begins { text } else { text.split_inclusive('\n').skip(1).collect() }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::cli::{named::Named, table::Table};

    #[derive(Serialize, Deserialize)]
    struct Fish(String, String, u32);

    impl Named for Fish {}

    impl Listed for Fish {
        const PATH: &'static str = "/v1/fish";
        const WORD: &'static str = "fish";

        fn is(&self, name: &str) -> bool {
            self.0 == name
        }

        fn table(list: &[Self], _: bool) -> Table {
            let mut table = Table::new(&["NAME", "STATE", "NEWS"], &[], false);
            for Self(name, state, news) in list {
                table.row([name.clone(), state.clone(), news.to_string()]);
            }
            table
        }
    }

    #[test]
    fn only_what_changes_is_told_again_and_what_has_gone_once() {
        let fish = |list: &[(&str, &str, u32)]| {
            list.iter().map(|&(name, state, news)| Fish(name.to_owned(), state.to_owned(), news)).collect::<Vec<_>>()
        };
        let (mut seen, mut widths) = (Seen::default(), Vec::new());
        let mut look = |list: &[(&str, &str, u32)]| {
            let list = fish(list);
            let (changed, gone) = seen.update(&list);
            rows(&changed, &gone, false, &mut widths)
        };
        let head = "NAME   STATE   NEWS\neel    swims   1\ntuna   swims   2\n";
        assert_eq!(look(&[("eel", "swims", 1), ("tuna", "swims", 2)]), head);
        assert_eq!(look(&[("eel", "swims", 9), ("tuna", "swims", 9)]), "", "that time goes by is no news");
        assert_eq!(look(&[("eel", "sleeps", 9), ("tuna", "swims", 9)]), "eel    sleeps   9\n");
        assert_eq!(look(&[("tuna", "swims", 9)]), "eel    gone\n");
        assert_eq!(look(&[("tuna", "swims", 9)]), "");
    }
}
