//! Which of a list, and in which order: names, `-l`, `--sort-by`. Pure.

use std::{cmp::Ordering, str::FromStr};

use serde_json::Value;

use super::{jsonpath::Path, listed::Listed};
use crate::admin::{Code, Problem};

/// One requirement of `-l`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Label {
    Is(String, String),
    IsNot(String, String),
    Exists(String),
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.trim_start_matches('=').to_owned());
        let label = if let Some(both) = text.split_once("!=") {
            let (key, value) = owned(both);
            Self::IsNot(key, value)
        } else if let Some(both) = text.split_once('=') {
            let (key, value) = owned(both);
            Self::Is(key, value)
        } else {
            Self::Exists(text.to_owned())
        };
        let (Self::Is(key, _) | Self::IsNot(key, _) | Self::Exists(key)) = &label;
        if key.is_empty() { Err(format!("`{text}` names no label")) } else { Ok(label) }
    }
}

impl Label {
    fn fits(&self, item: &impl Listed) -> bool {
        match self {
            Self::Is(key, value) => item.label(key).is_some_and(|own| own == *value),
            Self::IsNot(key, value) => item.label(key).is_none_or(|own| own != *value),
            Self::Exists(key) => item.label(key).is_some(),
        }
    }
}

/// Which, and in which order.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub(super) names: Vec<String>,
    pub(super) labels: Vec<Label>,
    pub(super) sort_by: Option<Path>,
}

impl Selection {
    /// Those of `list` that are meant; every name must mean one.
    pub(super) fn choose<T: Listed>(&self, mut list: Vec<T>) -> Result<Vec<T>, Problem> {
        if !self.labels.is_empty() && !T::HAS_LABELS {
            return Err(Problem::new(Code::Invalid, format!("{}s have no labels", T::WORD))
                .hint("-l is for nodes and endpoints"));
        }
        if let Some(missing) = self.names.iter().find(|name| !list.iter().any(|item| item.is(name))) {
            return Err(Problem::new(Code::NotFound, format!("there is no {} `{missing}`", T::WORD))
                .hint(format!("shoal get {}s", T::WORD)));
        }
        list.retain(|item| {
            let named = self.names.is_empty() || self.names.iter().any(|name| item.is(name));
            named && self.labels.iter().all(|label| label.fits(item))
        });
        let Some(path) = &self.sort_by else { return Ok(list) };
        let keyed = list.into_iter().map(|item| Ok((key(&item, path)?, item)));
        let mut keyed: Vec<(Option<Value>, T)> = keyed.collect::<Result<_, Problem>>()?;
        keyed.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref()));
        Ok(keyed.into_iter().map(|(_, item)| item).collect())
    }
}

fn key<T: Listed>(item: &T, path: &Path) -> Result<Option<Value>, Problem> {
    let value = serde_json::to_value(item).map_err(|error| Problem::new(Code::Failed, error))?;
    Ok(path.first(&value).cloned())
}

/// Numbers as numbers, everything else as text; what is missing comes last.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (a, b) {
        (Some(a), Some(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => text(a).cmp(&text(b)),
        },
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::cli::{named::Named, table::Table};

    #[derive(Serialize, Deserialize)]
    struct Fish {
        name: String,
        size: Option<u32>,
    }

    impl Named for Fish {}

    impl Listed for Fish {
        const PATH: &'static str = "/v1/fish";
        const WORD: &'static str = "fish";
        const HAS_LABELS: bool = true;

        fn is(&self, name: &str) -> bool {
            self.name == name
        }

        fn label(&self, key: &str) -> Option<Cow<'_, str>> {
            (key == "initial").then(|| Cow::Borrowed(&self.name[..1]))
        }

        fn table(_: &[Self], _: bool) -> Table {
            Table::new(&[], &[], false)
        }
    }

    fn choose(names: &[&str], labels: &[&str], sort_by: Option<&str>) -> Result<String, Problem> {
        let list = [("tuna", Some(100)), ("trout", Some(30)), ("eel", None)];
        let list = list.map(|(name, size)| Fish { name: name.to_owned(), size });
        let selection = Selection {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
            sort_by: sort_by.map(|path| path.parse().unwrap()),
        };
        let chosen = selection.choose(list.into())?;
        Ok(chosen.iter().map(|fish| fish.name.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_and_labels_select() {
        for (names, labels, chosen) in [
            (&[][..], &[][..], "tuna trout eel"),
            (&["eel", "tuna"], &[], "tuna eel"),
            (&[], &["initial=t"], "tuna trout"),
            (&[], &["initial==t"], "tuna trout"),
            (&[], &["initial!=t"], "eel"),
            (&[], &["other!=t"], "tuna trout eel"),
            (&[], &["other"], ""),
            (&["tuna"], &["initial", "initial=t"], "tuna"),
        ] {
            assert_eq!(choose(names, labels, None).as_deref(), Ok(chosen), "{names:?} {labels:?}");
        }
        assert_eq!(choose(&["eel", "cod"], &[], None).unwrap_err().code, Code::NotFound);
        assert!("=x".parse::<Label>().is_err());
    }

    #[test]
    fn numbers_are_sorted_as_numbers_and_what_is_missing_comes_last() {
        assert_eq!(choose(&[], &[], Some(".size")).as_deref(), Ok("trout tuna eel"));
        assert_eq!(choose(&[], &[], Some("{.name}")).as_deref(), Ok("eel trout tuna"));
    }
}
