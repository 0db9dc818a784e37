//! Meshes that are talked to from elsewhere, by name: `$XDG_CONFIG_HOME/shoal/contexts.yaml`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_types::parse_documents;

use super::{
    args::{ContextSetArgs, ContextVerb},
    client::Client,
    named::Named,
    output::out,
    table::{Table, or_dash},
};
use crate::admin::{Code, Problem};

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Contexts {
    /// The one that is used where none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    /// All, by name.
    contexts: BTreeMap<String, Context>,
}

/// How one mesh is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Context {
    /// Admin addresses of its nodes, tried in this order: any of them may be away.
    addresses: Vec<String>,
    /// File with the admin token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admin_token_file: Option<PathBuf>,
}

impl Context {
    /// With the token in `token_file`, if there is one, rather than the context's own.
    pub(super) fn client(&self, token_file: Option<&Path>) -> Result<Client, Problem> {
        Client::tcp(self.addresses.clone(), token_file.or(self.admin_token_file.as_deref()))
    }
}

impl Contexts {
    /// The one called `name`, or the current one if there is one.
    pub(super) fn find(name: Option<&str>) -> Result<Option<Context>, Problem> {
        let Some(path) = file() else {
            return name.map_or(Ok(None), |name| Err(unknown(name, &Self::default())));
        };
        let mut contexts = Self::read(&path)?;
        let Some(name) = name.map(str::to_owned).or_else(|| contexts.current.clone()) else { return Ok(None) };
        contexts.contexts.remove(&name).map(Some).ok_or_else(|| unknown(&name, &contexts))
    }

    /// The names of all; none where they cannot be read.
    pub(super) fn names() -> Vec<String> {
        let contexts = file().and_then(|path| Self::read(&path).ok());
        contexts.map(|contexts| contexts.contexts.into_keys().collect()).unwrap_or_default()
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let wrong = |why: &dyn std::fmt::Display| {
            Problem::new(Code::Invalid, format!("cannot read the contexts in {}: {why}", path.display()))
                .hint("mend the file, or remove it and set them anew: shoal context set")
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(wrong(&error)),
        };
        let documents: Vec<Self> = parse_documents(&text).map_err(|error| wrong(&error))?;
        Ok(documents.into_iter().next().unwrap_or_default())
    }

    fn write(&self, path: &Path) -> Result<(), Problem> {
        let failed = |why: &dyn std::fmt::Display| {
            Problem::new(Code::Failed, format!("cannot write the contexts to {}: {why}", path.display()))
        };
        let text = serde_saphyr::to_string(self).map_err(|error| failed(&error))?;
        let parent = path.parent().unwrap_or_else(|| Path::new("."));
        let write = || -> io::Result<()> {
            fs::create_dir_all(parent)?;
            let mut file = tempfile::NamedTempFile::new_in(parent)?;
            file.write_all(text.as_bytes())?;
            file.persist(path).map_err(|error| error.error).map(|_| ())
        };
        write().map_err(|error| failed(&error))
    }
}

fn unknown(name: &str, contexts: &Contexts) -> Problem {
    let known: Vec<&str> = contexts.contexts.keys().map(String::as_str).collect();
    let hint = if known.is_empty() {
        "shoal context set NAME --address HOST:PORT".to_owned()
    } else {
        format!("known are {}", known.join(", "))
    };
    Problem::new(Code::NotFound, format!("there is no context `{name}`")).hint(hint)
}

/// Where the file is; nowhere for a user without a home.
fn file() -> Option<PathBuf> {
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let directory = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(directory.join("shoal/contexts.yaml"))
}

/// `shoal context`.
pub(super) fn run(verb: ContextVerb) -> Result<(), Problem> {
    let path = file().ok_or_else(|| {
        Problem::new(Code::Failed, "there is no place for contexts: neither HOME nor XDG_CONFIG_HOME is set")
    })?;
    let mut contexts = Contexts::read(&path)?;
    let told = match verb {
        ContextVerb::List(args) => {
            let rows = contexts.rows();
            return args.output.print(&rows, |_| table(&rows));
        }
        ContextVerb::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                return Err(unknown(&name, &contexts));
            }
            let told = format!("context {name} is used from now on\n");
            contexts.current = Some(name);
            told
        }
        ContextVerb::Set(ContextSetArgs { name, addresses, admin_token_file }) => {
            let admin_token_file = admin_token_file.map(|path| absolute(&path)).transpose()?;
            let told = format!("context {name} is set; use it: shoal context use {name}\n");
            contexts.contexts.insert(name, Context { addresses, admin_token_file });
            told
        }
        ContextVerb::Delete { name } => {
            if contexts.contexts.remove(&name).is_none() {
                return Err(unknown(&name, &contexts));
            }
            contexts.current.take_if(|current| *current == name);
            format!("context {name} is deleted\n")
        }
    };
    contexts.write(&path)?;
    out(&told)
}

/// The file is read from wherever the next command runs.
fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    let unreadable = |error| Problem::new(Code::Invalid, format!("cannot read {}: {error}", path.display()));
    path.canonicalize().map_err(unreadable)
}

/// One context as it is listed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    current: bool,
    #[serde(flatten)]
    context: &'a Context,
}

impl Named for Row<'_> {
    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.name.to_owned()])
    }
}

impl Contexts {
    fn rows(&self) -> Vec<Row<'_>> {
        let row = |(name, context)| {
            let name: &String = name;
            Row { name, current: self.current.as_ref() == Some(name), context }
        };
        self.contexts.iter().map(row).collect()
    }
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new(&["CURRENT", "NAME", "ADDRESSES", "TOKEN"], &[], false);
    for row in rows {
        table.row([
            if row.current { "*" } else { "" }.to_owned(),
            row.name.to_owned(),
            row.context.addresses.join(","),
            or_dash(row.context.admin_token_file.as_ref().map(|path| path.display())),
        ]);
    }
    table
}
