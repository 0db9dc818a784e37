//! Join tokens and revocations, as entries of the store.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use shoal_types::{NodeId, UnixMillis};

use super::{
    Store, StoreError,
    core::Core,
    entry::{Entry, EntryKey},
};
use crate::{
    clock,
    identity::{JoinToken, TokenId, TokenLedger, TokenLimits},
};

/// The body of an entry that says all by being there.
pub(super) const NOTHING_MORE: &str = "{}";

/// What is known of a token that was made: all but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// Which.
    pub id: TokenId,
    /// The node that made it, the only one that admits with it.
    pub issuer: NodeId,
    /// When it was made.
    pub created: UnixMillis,
    /// What it allows.
    #[serde(flatten)]
    pub grant: TokenGrant,
    /// Who joined with it.
    pub used_by: Vec<NodeId>,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenGrant {
    /// Last moment at which it admits.
    pub not_after: UnixMillis,
    /// How many nodes it admits.
    pub uses: u32,
    /// Whether they may write specs.
    pub write: bool,
    /// Whether they become issuers.
    pub makes_issuer: bool,
    /// Labels that their certificates carry.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Store {
    /// Notes a token that this node has made, before it is shown to anybody.
    pub(crate) async fn note_token(
        &self,
        token: &JoinToken,
        limits: TokenLimits,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let TokenLimits { ttl: _, uses, write, issuer: makes_issuer, labels } = limits;
        let grant = TokenGrant { not_after: token.not_after(), uses, write, makes_issuer, labels };
        self.add(EntryKey::Token(token.id()), serde_json::to_string(&grant)?, now).await
    }

    /// All tokens, made anywhere.
    pub(crate) async fn tokens(&self) -> Result<Vec<TokenStatus>, StoreError> {
        self.blocking(|core| Ok(core.all_tokens())).await
    }

    /// Makes a token admit nobody any more.
    pub(crate) async fn revoke_token(&self, token: TokenId, now: UnixMillis) -> Result<(), StoreError> {
        let known = self.blocking(move |core| Ok(core.contains(&EntryKey::Token(token)))).await?;
        if !known {
            return Err(StoreError::UnknownToken { token });
        }
        self.add(EntryKey::RevokedToken(token), NOTHING_MORE.to_owned(), now).await
    }

    /// Makes `node` a member no more, for good.
    pub(crate) async fn revoke_node(&self, node: NodeId, now: UnixMillis) -> Result<(), StoreError> {
        self.add(EntryKey::RevokedNode(node), NOTHING_MORE.to_owned(), now).await
    }

    /// Adds to a grow-only set; adding again changes nothing.
    pub(super) async fn add(&self, key: EntryKey, body: String, now: UnixMillis) -> Result<(), StoreError> {
        self.check_writable(now)?;
        let written = self.blocking(move |core| core.add(key, body, now)).await?;
        written.into_iter().for_each(|entry| self.push(entry));
        Ok(())
    }
}

/// For the issuer, on a blocking thread.
impl TokenLedger for Store {
    fn is_revoked(&self, token: TokenId) -> bool {
        self.snapshot().revoked_tokens.contains(&token)
    }

    fn uses(&self, token: TokenId) -> Vec<NodeId> {
        self.with_core(|core| core.uses(token))
    }

    fn record_use(&self, token: TokenId, node: NodeId) -> Result<(), String> {
        let (key, now) = (EntryKey::SpentToken(token, node), clock::now());
        self.check_writable(now).map_err(|error| error.to_string())?;
        let written = self.with_core(|core| core.add(key, NOTHING_MORE.to_owned(), now));
        written.map(|entry| entry.into_iter().for_each(|entry| self.push(entry))).map_err(|error| error.to_string())
    }
}

impl Core {
    pub(super) fn add(
        &mut self,
        key: EntryKey,
        body: String,
        now: UnixMillis,
    ) -> Result<Option<Arc<Entry>>, StoreError> {
        if self.contains(&key) { Ok(None) } else { self.write(key, body, now).map(Some) }
    }

    fn uses(&self, token: TokenId) -> Vec<NodeId> {
        let node = |entry: &Arc<Entry>| match &entry.key {
            EntryKey::SpentToken(_, node) => Some(*node),
            EntryKey::Endpoint(_)
            | EntryKey::Token(_)
            | EntryKey::RevokedToken(_)
            | EntryKey::RevokedNode(_)
            | EntryKey::Key(_)
            | EntryKey::RevokedKey(_)
            | EntryKey::RetiredRoot(_) => None,
        };
        let (first, last) = (NodeId::from_bytes([0; 16]), NodeId::from_bytes([u8::MAX; 16]));
        self.range(EntryKey::SpentToken(token, first), EntryKey::SpentToken(token, last)).filter_map(node).collect()
    }

    fn all_tokens(&self) -> Vec<TokenStatus> {
        let status = |entry: &Arc<Entry>| {
            let EntryKey::Token(id) = &entry.key else { return None };
            Some(TokenStatus {
                id: *id,
                issuer: entry.version.node,
                created: entry.version.time,
                grant: serde_json::from_str(entry.body.as_deref()?).ok()?,
                used_by: self.uses(*id),
                revoked: self.contains(&EntryKey::RevokedToken(*id)),
            })
        };
        self.entries().filter_map(status).collect()
    }
}
