//! `shoal root`: how a mesh gets another root while it runs.

use std::{fs, path::Path};

use shoal_mesh::{RootKey, clock};

use super::{
    args::RootVerb,
    client::Client,
    get::list,
    listed::node_state,
    output::{note, out},
    table::{Table, or_dash},
};
use crate::admin::{Code, NodeStatus, Problem, RootRequest};

/// `client` is only asked for where a daemon is needed.
pub(super) async fn run(client: impl FnOnce() -> Result<Client, Problem>, verb: RootVerb) -> Result<(), Problem> {
    match verb {
        RootVerb::Begin { dir, root_key } => begin(&dir, &root_key),
        RootVerb::Status(args) => {
            let nodes: Vec<NodeStatus> = list(&client()?, &[]).await?;
            args.output.print(&nodes, |_| table(&nodes))
        }
        RootVerb::Finish { succession, force } => {
            let text = fs::read_to_string(&succession).map_err(|error| {
                Problem::new(Code::Invalid, format!("cannot read {}: {error}", succession.display()))
            })?;
            let request = RootRequest { succession: text.trim().to_owned(), force };
            let () = client()?.post("/v1/root", &request).await?;
            note("tokens that were made with the old root lead nowhere: make new ones");
            out("the old root is dropped: what it signs counts nowhere any more\n")
        }
    }
}

fn begin(dir: &Path, root_key: &Path) -> Result<(), Problem> {
    let failed = |error| Problem::new(Code::Failed, error);
    let old = RootKey::read(root_key).map_err(failed)?;
    let succession = old.begin_succession(dir, clock::now()).map_err(failed)?;
    let new = succession.new_root().map_err(failed)?;
    let dir = dir.display();
    out(&format!(
        "root {new} is made for mesh {}; the old root vouches for it, so that all trust both\n\n  \
         Reissue:   shoal issuer rotate NODE --root-key {dir}/root.key   (every issuer; nodes follow by themselves)\n  \
         Watch:     shoal root status\n  \
         Drop:      shoal root finish {dir}/root.succession\n\n\
         Keep {dir} as you kept the root key before, the two files together.\n",
        succession.mesh_id(),
    ))
}

fn table(nodes: &[NodeStatus]) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "ROOT"], &[], false);
    for node in nodes {
        table.row([node.name.clone(), node_state(node), or_dash(node.facts.root)]);
    }
    table
}
