//! How answers are printed.

use std::{
    fmt::Display,
    io::{self, Write as _},
    str::FromStr,
};

use serde::Serialize;
use serde_json::{Value, json};

use super::{jsonpath::Template, named::Named};
use crate::admin::{Code, Problem};

/// Formats of `-o`.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For people, with more columns.
    Wide,
    /// For scripts.
    Json,
    /// For files.
    Yaml,
    /// For other commands: `kind/name`, a line each.
    Name,
    /// Only what scripts need of it.
    JsonPath(Template),
}

impl Output {
    /// What `--help` and completion offer.
    pub(crate) const FORMATS: [&str; 6] = ["table", "wide", "json", "yaml", "name", "jsonpath="];

    /// Whether it is for people, who read on standard error what else there is to say.
    pub(crate) const fn is_for_people(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Prints `value`, for people as the text that `text` makes of it; its argument says whether that is wide.
    pub(crate) fn print<T: Serialize + Named + ?Sized, D: Display>(
        &self,
        value: &T,
        text: impl FnOnce(bool) -> D,
    ) -> Result<(), Problem> {
        out(&self.render(value, text)?)
    }

    /// What [`Output::print`] prints.
    pub(crate) fn render<T: Serialize + Named + ?Sized, D: Display>(
        &self,
        value: &T,
        text: impl FnOnce(bool) -> D,
    ) -> Result<String, Problem> {
        let failed = |error: &dyn Display| Problem::new(Code::Failed, format!("cannot print: {error}"));
        Ok(match self {
            Self::Table => text(false).to_string(),
            Self::Wide => text(true).to_string(),
            Self::Json => serde_json::to_string_pretty(value).map_err(|error| failed(&error))? + "\n",
            Self::Yaml => serde_saphyr::to_string(&value).map_err(|error| failed(&error))?,
            Self::Name => value.names().ok_or_else(nameless)?.into_iter().map(|name| name + "\n").collect(),
            Self::JsonPath(template) => {
                let value = serde_json::to_value(value).map_err(|error| failed(&error))?;
                template.render(&as_kubectl(value))
            }
        })
    }

    /// Before something is done whose answer could not be printed.
    pub(crate) fn refuse_name(&self) -> Result<(), Problem> {
        if matches!(self, Self::Name) { Err(nameless()) } else { Ok(()) }
    }
}

fn nameless() -> Problem {
    Problem::new(Code::Invalid, "-o name: what this prints has no name").hint("-o json, or -o jsonpath=TEMPLATE")
}

/// Lists are below `items`, where templates written for kubectl look.
fn as_kubectl(value: Value) -> Value {
    if value.is_array() { json!({ "items": value }) } else { value }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').unwrap_or((text, "")) {
            ("table", "") => Ok(Self::Table),
            ("wide", "") => Ok(Self::Wide),
            ("json", "") => Ok(Self::Json),
            ("yaml", "") => Ok(Self::Yaml),
            ("name", "") => Ok(Self::Name),
            ("jsonpath", "") => Err("a template is missing, such as jsonpath='{.status.ready}'".to_owned()),
            ("jsonpath", template) => template.parse().map(Self::JsonPath),
            _ => Err(format!("it is none of {}TEMPLATE", Self::FORMATS.join(", "))),
        }
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no error.
pub(crate) fn out(text: &str) -> Result<(), Problem> {
    out_bytes(text.as_bytes()).map(|_| ())
}

/// As [`out`], for what need not be UTF-8; says whether somebody still reads.
pub(super) fn out_bytes(bytes: &[u8]) -> Result<bool, Problem> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Problem::new(Code::Failed, format!("cannot write to standard output: {error}"))),
    }
}

/// Whether the user has anything against colours (<https://no-color.org>).
pub(crate) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes a line of progress or advice to standard error.
pub(crate) fn note(text: &str) {
    // Not `eprintln!`, which panics where nobody listens any more.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Thing(&'static str);

    impl Named for Thing {
        fn names(&self) -> Option<Vec<String>> {
            Some(vec![format!("thing/{}", self.0)])
        }
    }

    fn render(format: &str) -> Result<String, String> {
        let things = vec![Thing("a"), Thing("b")];
        let output: Output = format.parse()?;
        output.render(&things, |wide| if wide { "broad\n" } else { "narrow\n" }).map_err(|problem| problem.to_string())
    }

    #[test]
    fn there_is_one_value_behind_all_formats() {
        for (format, text) in [
            ("table", "narrow\n"),
            ("wide", "broad\n"),
            ("json", "[\n  \"a\",\n  \"b\"\n]\n"),
            ("yaml", "- a\n- b\n"),
            ("name", "thing/a\nthing/b\n"),
            ("jsonpath={.items[1]}", "b"),
        ] {
            assert_eq!(render(format).as_deref(), Ok(text), "{format}");
        }
        assert!(render("jsonpath").expect_err("no template").contains("template is missing"));
        assert!(render("xml").expect_err("no such format").contains("jsonpath=TEMPLATE"));
        assert!(render("json=x").is_err());
    }

    #[test]
    fn what_has_no_name_says_so() {
        struct Nameless;
        impl Serialize for Nameless {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_unit()
            }
        }
        impl Named for Nameless {}
        let problem = Output::Name.render(&Nameless, |_| "").expect_err("no name");
        assert_eq!(problem.code, Code::Invalid);
    }
}
