//! `shoal init` and `shoal join`: this host becomes a node, before any daemon runs.

use std::{
    fmt::Display,
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::process::geteuid;
use shoal_mesh::{
    IdentityError, JoinError, JoinToken, Joined, RootKey, clock, init_mesh, init_mesh_again, join as join_mesh,
    remember_peers,
};
use shoal_types::NodeId;

use super::{
    args::{InitArgs, JoinArgs},
    output::out,
};
use crate::admin::{Code, Problem};

/// Longest token that is read.
const TOKEN_MAX: u64 = 64 << 10;
/// Directory of the keys below the state directory.
pub(crate) const IDENTITY_DIR: &str = "identity";

pub(super) fn init(args: InitArgs) -> Result<(), Problem> {
    for_own_daemon(&args.state_dir, geteuid().is_root(), "init")?;
    let failed = |error: IdentityError| Problem::new(Code::Failed, error);
    let dir = args.state_dir.join(IDENTITY_DIR);
    if let Some(root_key) = args.root_key {
        let root_key = RootKey::read(&root_key).map_err(failed)?;
        let identity = init_mesh_again(&dir, &root_key, clock::now()).map_err(failed)?;
        return out(&format!(
            "mesh {} begins again, this host is its first node ({})\n\n  \
             Run it:                         shoal agent\n  \
             Put back what a backup has:     shoal restore FILE\n  \
             Let others join:                shoal token create\n  \
             The root key is not copied: keep it where it is.\n",
            identity.mesh_id(),
            identity.node_id(),
        ));
    }
    let identity = init_mesh(&dir, clock::now()).map_err(failed)?;
    out(&format!(
        "mesh {} is made, this host is its first node ({})\n\n  \
         Run it:            shoal agent\n  \
         Let another join:  shoal token create > token   (then on the other host: shoal join token; shoal agent)\n  \
         The root key {} is needed again only to make issuers: keep a copy, and move it off this host.\n",
        identity.mesh_id(),
        identity.node_id(),
        args.state_dir.join(IDENTITY_DIR).join("root.key").display(),
    ))
}

pub(super) async fn join(args: JoinArgs) -> Result<(), Problem> {
    for_own_daemon(&args.state_dir, geteuid().is_root(), "join TOKEN-FILE")?;
    let token = read_token(&args.token_file)?;
    let node = join_with(&token, &args.state_dir).await?;
    out(&format!("this host is node {node} of mesh {}; run it: shoal agent\n", token.mesh_id()))
}

/// Keys that root makes in the directory of another user, as the packages have one, are of no use to that user's daemon.
fn for_own_daemon(state_dir: &Path, root: bool, verb: &str) -> Result<(), Problem> {
    let owner = fs::metadata(state_dir).map_or(0, |metadata| metadata.uid());
    if !root || owner == 0 {
        return Ok(());
    }
    let dir = state_dir.display();
    Err(Problem::new(
        Code::Invalid,
        format!("{dir} belongs to user {owner}, whose daemon could not read what root makes"),
    )
    .hint(format!("runuser -u \"$(stat -c %U {dir})\" -- shoal {verb}")))
}

/// Joins with a token that was read; the daemon finds its first peers in the state directory.
pub(crate) async fn join_with(token: &JoinToken, state_dir: &Path) -> Result<NodeId, Problem> {
    let failed = |why: &dyn Display| Problem::new(Code::Failed, format!("cannot join mesh {}: {why}", token.mesh_id()));
    let refused = |error: JoinError| match error {
        JoinError::Unreachable { .. } => Problem { code: Code::Unreachable, ..failed(&error) },
        _ => failed(&error),
    };
    let Joined { identity, peers } =
        join_mesh(token, &state_dir.join(IDENTITY_DIR), clock::now()).await.map_err(refused)?;
    remember_peers(state_dir, &peers)
        .map_err(|error| failed(&format!("it is admitted, but cannot remember its peers: {error}")))?;
    Ok(identity.node_id())
}

/// Reads a token from a file, or from standard input if that is `-`.
pub(crate) fn read_token(path: &Path) -> Result<JoinToken, Problem> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(TOKEN_MAX).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        Problem::new(Code::Invalid, format!("cannot read the join token from {}: {error}", path.display()))
            .hint("give a file that holds the line that `shoal token create` printed, or - for standard input")
    })?;
    text.trim().parse().map_err(|error| Problem::new(Code::Invalid, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only root can give a directory to somebody else.
    #[test]
    fn root_makes_no_keys_for_another_users_daemon() {
        let directory = tempfile::tempdir().unwrap();
        for_own_daemon(directory.path(), false, "init").unwrap();
        for_own_daemon(Path::new("/nonexistent"), true, "init").unwrap();
        if geteuid().is_root() {
            std::os::unix::fs::chown(directory.path(), Some(12345), None).unwrap();
            let refused = for_own_daemon(directory.path(), true, "init").unwrap_err().to_string();
            assert!(refused.contains("user 12345") && refused.contains("runuser"), "{refused}");
        }
    }
}
