//! `shoal drain`, `undrain` and `revoke`.

use super::{
    args::{DrainArgs, NodeArgs, UndrainArgs},
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

pub(super) async fn undrain(client: &Client, args: UndrainArgs) -> Result<(), Problem> {
    if let Some(gpu) = args.gpu {
        client.delete(&format!("/v1/nodes/{}/gpus/{gpu}/fault", args.node)).await?;
        return out(&format!("GPU {gpu} of node {} is used again\n", args.node));
    }
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
