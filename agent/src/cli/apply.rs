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
    output::{Output, note, out},
    table::Table,
    target::Targets,
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
    told(&applied, &args.output.output)?;
    wait::if_wanted(client, &applied, &args.wait).await
}

/// Prints what became of each document.
pub(super) fn told(applied: &Vec<AppliedStatus>, output: &Output) -> Result<(), Problem> {
    output.print(applied, |_| {
        let mut table = Table::new(&["ENDPOINT", "RESULT"], &[], false);
        for one in applied {
            table.row([one.name.to_string(), one.outcome.to_string()]);
        }
        table
    })
}

pub(super) async fn delete(client: &Client, args: DeleteArgs) -> Result<(), Problem> {
    let names = match (&args.filename, args.target.as_slice()) {
        (Some(path), _) => {
            parse(&read(path)?, path)?.into_iter().map(|endpoint| endpoint.metadata.name).collect::<Vec<_>>()
        }
        (None, target) => some(Targets::endpoints(target, "delete")?)?,
    };
    for name in &names {
        client.delete(&format!("/v1/endpoints/{name}")).await?;
        out(&format!("endpoint {name} deleted\n"))?;
    }
    if args.wait.wait { wait::gone(client, &names, args.wait.timeout, &mut |line| note(line)).await } else { Ok(()) }
}

/// Nothing is deleted that is not named.
fn some(names: Vec<EndpointName>) -> Result<Vec<EndpointName>, Problem> {
    if names.is_empty() {
        return Err(Problem::new(Code::Invalid, "no endpoint is named").hint("shoal delete endpoint NAME..."));
    }
    Ok(names)
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
