//! `shoal token`.

use super::{
    args::{TokenCreateArgs, TokenVerb, label_map},
    client::Client,
    output::{note, out},
    table::Table,
};
use shoal_mesh::{TokenStatus, clock};

use crate::admin::{Problem, TokenCreated, TokenRequest};

pub(super) async fn run(client: &Client, verb: TokenVerb) -> Result<(), Problem> {
    match verb {
        TokenVerb::Create(args) => create(client, args).await,
        TokenVerb::List(args) => {
            let tokens: Vec<TokenStatus> = client.get("/v1/tokens").await?;
            args.output.print(&tokens, |_| table(&tokens))
        }
        TokenVerb::Revoke { id } => {
            client.delete(&format!("/v1/tokens/{id}")).await?;
            out(&format!("token {id} is revoked\n"))
        }
    }
}

async fn create(client: &Client, args: TokenCreateArgs) -> Result<(), Problem> {
    let request = TokenRequest {
        ttl_ms: u64::try_from(args.ttl.as_millis()).unwrap_or(u64::MAX),
        uses: args.uses,
        write: !args.no_write,
        issuer: args.issuer,
        labels: label_map(args.labels),
    };
    let created: TokenCreated = client.post("/v1/tokens", &request).await?;
    note(&format!(
        "token {}, good for {} node(s) until {}; it is shown only once",
        created.id, args.uses, created.expires
    ));
    out(&format!("{}\n", created.token))
}

fn token_state(token: &TokenStatus) -> &'static str {
    let used = u32::try_from(token.used_by.len()).unwrap_or(u32::MAX);
    if token.revoked {
        "revoked"
    } else if used >= token.grant.uses {
        "used up"
    } else if token.grant.not_after < clock::now() {
        "expired"
    } else {
        "valid"
    }
}

pub(super) fn table(tokens: &[TokenStatus]) -> Table {
    let mut table = Table::new(&["ID", "EXPIRES", "USED", "ROLE", "STATE"], &[], false);
    for token in tokens {
        let role = match (token.grant.makes_issuer, token.grant.write) {
            (true, _) => "issuer",
            (false, true) => "node",
            (false, false) => "node (no write)",
        };
        table.row([
            token.id.to_string(),
            token.grant.not_after.to_string(),
            format!("{}/{}", token.used_by.len(), token.grant.uses),
            role.to_owned(),
            token_state(token).to_owned(),
        ]);
    }
    table
}
