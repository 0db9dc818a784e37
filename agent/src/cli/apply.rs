//! `shoal apply` and `shoal delete`.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use shoal_types::{Endpoint, EndpointName, parse_endpoints};

use super::{
    args::{ApplyArgs, DeleteArgs},
    client::Client,
    output::{note, out},
    table::Table,
    wait,
};
use crate::admin::{AppliedStatus, Code, Problem};

/// Largest document that is read.
const DOCUMENT_MAX: u64 = 4 << 20;

pub(super) async fn apply(client: &Client, args: ApplyArgs) -> Result<(), Problem> {
    let text = read(&args.filename)?;
    parse(&text, &args.filename)?;
    let path = match &args.expect {
        Some(version) => format!("/v1/endpoints?expect={version}"),
        None => "/v1/endpoints".to_owned(),
    };
    let applied: Vec<AppliedStatus> = client.post_text(&path, text).await?;
    args.output.output.print(&applied, |_| {
        let mut table = Table::new(&["ENDPOINT", "RESULT"], &[], false);
        for one in &applied {
            table.row([one.name.to_string(), one.outcome.to_string()]);
        }
        table
    })?;
    if !args.wait.wait {
        return Ok(());
    }
    wait::ready(client, &applied, args.wait.timeout, &mut |line| note(line)).await
}

pub(super) async fn delete(client: &Client, args: DeleteArgs) -> Result<(), Problem> {
    let names = match (&args.filename, args.target.as_slice()) {
        (Some(path), _) => {
            parse(&read(path)?, path)?.into_iter().map(|endpoint| endpoint.metadata.name).collect::<Vec<_>>()
        }
        (None, target) => deleted(target)?,
    };
    for name in &names {
        client.delete(&format!("/v1/endpoints/{name}")).await?;
        out(&format!("endpoint {name} deleted\n"))?;
    }
    if args.wait.wait { wait::gone(client, &names, args.wait.timeout).await } else { Ok(()) }
}

/// The endpoints that `endpoint NAME...` or `endpoint/NAME...` means.
fn deleted(target: &[String]) -> Result<Vec<EndpointName>, Problem> {
    const KINDS: [&str; 3] = ["endpoint", "endpoints", "ep"];
    let named = |target: &str| match target.split_once('/') {
        Some((kind, name)) if KINDS.contains(&kind) => Some(name.to_owned()),
        Some(_) | None => None,
    };
    let names: Option<Vec<String>> = match target {
        [kind, names @ ..] if KINDS.contains(&kind.as_str()) => (!names.is_empty()).then(|| names.to_vec()),
        targets => targets.iter().map(|target| named(target)).collect(),
    };
    let only = || Problem::new(Code::Invalid, "only endpoints can be deleted").hint("shoal delete endpoint NAME...");
    let parse = |name: String| name.parse().map_err(|error| Problem::new(Code::Invalid, error));
    names.ok_or_else(only)?.into_iter().map(parse).collect()
}

/// Checks before anything is sent, so that the message names the file.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Endpoint>, Problem> {
    parse_endpoints(text).map_err(|error| {
        Problem::new(Code::Invalid, format!("{}: {error}", path.display()))
            .hint("`shoal config schema endpoint` prints all fields")
    })
}

pub(super) fn read(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    let result = if path == Path::new("-") {
        io::stdin().lock().take(DOCUMENT_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(DOCUMENT_MAX).read_to_string(&mut text))
    };
    match result {
        Ok(_) => Ok(text),
        Err(error) => Err(Problem::new(Code::Invalid, format!("cannot read {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_is_named_like_anywhere_else() {
        let named = |target: &[&str]| {
            let target: Vec<String> = target.iter().map(|&word| word.to_owned()).collect();
            deleted(&target).ok().map(|names| names.iter().map(EndpointName::to_string).collect::<Vec<_>>())
        };
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(named(&["endpoint", "a", "b"]), both);
        assert_eq!(named(&["endpoint/a", "ep/b"]), both);
        for wrong in [&["endpoint"][..], &["node", "a"], &["node/a"], &["a"], &["endpoint/a", "b"], &["endpoint", "A!"]]
        {
            assert_eq!(named(wrong), None, "{wrong:?}");
        }
    }
}
