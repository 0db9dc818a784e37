//! `shoal drain`, `undrain` and `revoke`.

use super::{
    args::{DrainArgs, NodeArgs},
    client::Client,
    output::out,
    wait,
};
use crate::admin::{DrainRequest, Problem};

pub(super) async fn drain(client: &Client, args: DrainArgs) -> Result<(), Problem> {
    set(client, &args.node, true).await?;
    out(&format!("node {} is draining: its replicas leave once others serve in their place\n", args.node))?;
    if args.wait.wait { wait::empty(client, &args.node, args.wait.timeout).await } else { Ok(()) }
}

pub(super) async fn undrain(client: &Client, args: NodeArgs) -> Result<(), Problem> {
    set(client, &args.node, false).await?;
    out(&format!("node {} takes replicas again\n", args.node))
}

pub(super) async fn revoke(client: &Client, args: NodeArgs) -> Result<(), Problem> {
    client.delete(&format!("/v1/nodes/{}", args.node)).await?;
    out(&format!("node {} is revoked: no node talks to it any more\n", args.node))
}

async fn set(client: &Client, node: &str, drain: bool) -> Result<(), Problem> {
    client.post(&format!("/v1/nodes/{node}/drain"), &DrainRequest { drain }).await
}
