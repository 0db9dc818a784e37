//! Becoming an issuer, and following another root, while the node runs.

use super::{Mesh, MeshError};
use crate::{
    clock,
    identity::{IdentityError, IssuerGrant, IssuerRequest, Succession},
};

impl Mesh {
    /// Asks, for whoever has the root key, that this node become an issuer, or one with a new key.
    ///
    /// # Errors
    /// If it may not write, or its new key cannot be kept.
    pub async fn request_issuer(&self) -> Result<IssuerRequest, MeshError> {
        let identity = self.identity.clone();
        self.on_files(move || identity.request_issuer()).await
    }

    /// Takes up what was signed for the latest request: from now on this node admits and renews with its new key.
    ///
    /// # Errors
    /// If it is not for that request, or cannot be kept.
    pub async fn install_issuer(&self, grant: IssuerGrant) -> Result<(), MeshError> {
        let (identity, life) = (self.identity.clone(), self.certificate_life);
        self.on_files(move || identity.install_issuer(grant, life, clock::now())).await
    }

    /// Makes all nodes trust the root that `succession` names, and no other. Nodes whose certificate comes from another are
    /// cut off.
    ///
    /// # Errors
    /// If it is not by both roots of this mesh, or could not be written.
    pub async fn replace_root(&self, succession: &Succession) -> Result<(), MeshError> {
        Ok(self.store.succeed(succession, clock::now()).await?)
    }

    /// Runs `work` where blocking is allowed.
    async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
    ) -> Result<T, MeshError> {
        let done = self.tasks.spawn_blocking(work).await;
        let cut_short =
            |panic: tokio::task::JoinError| IdentityError::Making { what: "an issuer", reason: panic.to_string() };
        Ok(done.map_err(cut_short)??)
    }
}
