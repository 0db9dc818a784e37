//! `shoal issuer`: the root key is read by this program alone, never by a daemon, so that it can be anywhere.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use shoal_mesh::{IssuerRequest, RootKey, clock};

use super::{
    IDENTITY_DIR,
    args::{IssuerSignArgs, IssuerVerb},
    client::Client,
    get::list,
    listed::node_state,
    output::{note, out},
    table::{Table, or_dash},
};
use crate::admin::{Code, IssuerText, NodeStatus, Problem};

/// Longest request or grant that is read.
const TEXT_MAX: u64 = 64 << 10;

pub(super) async fn run(client: &Client, verb: IssuerVerb) -> Result<(), Problem> {
    match verb {
        IssuerVerb::List(args) => {
            let mut issuers: Vec<NodeStatus> = list(client, &[]).await?;
            issuers.retain(|node| node.facts.issuer);
            args.output.print(&issuers, |_| table(&issuers))
        }
        IssuerVerb::Add(args) => make(client, args, false).await,
        IssuerVerb::Rotate(args) => make(client, args, true).await,
        IssuerVerb::Request { node } => out(&format!("{}\n", request(client, &node).await?)),
        IssuerVerb::Sign { request, root_key } => {
            let request = read(&request, "the issuer request")?;
            let request = request.parse().map_err(|error| Problem::new(Code::Invalid, error))?;
            out(&format!("{}\n", sign(&root_key, &request)?))
        }
        IssuerVerb::Install { node, grant } => {
            let grant = read(&grant, "the issuer grant")?;
            install(client, &node, grant).await?;
            out(&format!("node {node} is an issuer with the key that it asked for\n"))
        }
    }
}

/// All three steps, where the root key is at hand.
async fn make(client: &Client, args: IssuerSignArgs, is_one: bool) -> Result<(), Problem> {
    let IssuerSignArgs { node, root_key, state_dir } = args;
    let found: Vec<NodeStatus> = list(client, &[&node]).await?;
    match (found.iter().all(|node| node.facts.issuer), is_one) {
        (true, false) => {
            let why = format!("node {node} is an issuer already");
            return Err(Problem::new(Code::Conflict, why).hint(format!("shoal issuer rotate {node}")));
        }
        (false, true) => {
            let why = format!("node {node} is not an issuer");
            return Err(Problem::new(Code::Conflict, why).hint(format!("shoal issuer add {node}")));
        }
        (true, true) | (false, false) => {}
    }
    let root_key = root_key.unwrap_or_else(|| state_dir.join(IDENTITY_DIR).join("root.key"));
    let key = read_root(&root_key)?;
    let request = request(client, &node).await?;
    install(client, &node, sign_with(&key, &request)?).await?;
    if is_one {
        out(&format!("issuer {node} has a new key\n"))?;
        note("tokens that it made before admit nobody any more: make new ones");
        return Ok(());
    }
    out(&format!("node {node} is an issuer: it makes tokens, admits nodes and renews certificates\n"))
}

async fn request(client: &Client, node: &str) -> Result<IssuerRequest, Problem> {
    let IssuerText { text } = client.post(&format!("/v1/nodes/{node}/issuer-request"), &()).await?;
    text.parse().map_err(|error| Problem::new(Code::Failed, error))
}

async fn install(client: &Client, node: &str, grant: String) -> Result<(), Problem> {
    client.post(&format!("/v1/nodes/{node}/issuer"), &IssuerText { text: grant }).await
}

fn read_root(path: &Path) -> Result<RootKey, Problem> {
    RootKey::read(path).map_err(|error| {
        Problem::new(Code::Failed, format!("the root key is needed to make an issuer: {error}")).hint(
            "--root-key PATH; or `shoal issuer request NODE`, `shoal issuer sign` where the root key is, and \
             `shoal issuer install NODE`",
        )
    })
}

fn sign(root_key: &Path, request: &IssuerRequest) -> Result<String, Problem> {
    sign_with(&read_root(root_key)?, request)
}

fn sign_with(key: &RootKey, request: &IssuerRequest) -> Result<String, Problem> {
    let grant = key.sign(request, clock::now()).map_err(|error| Problem::new(Code::Failed, error))?;
    note(&format!("signed for node {} of mesh {}", request.node(), key.mesh_id()));
    Ok(grant.to_string())
}

fn read(path: &Path, what: &str) -> Result<String, Problem> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(TEXT_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(TEXT_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| Problem::new(Code::Invalid, format!("cannot read {what} from {}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

fn table(issuers: &[NodeStatus]) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "SIGNS UNTIL", "ID"], &[], false);
    for node in issuers {
        let until = node.facts.validities.and_then(|validities| validities.issuer).map(|validity| validity.until);
        table.row([node.name.clone(), node_state(node), or_dash(until), node.id.to_string()]);
    }
    table
}
