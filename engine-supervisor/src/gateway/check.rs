//! One look at a service: does it take the key, is it well, does it have the model, how much has it to do.

use http::StatusCode;
use serde::Deserialize;
use shoal_types::{GatewayTarget, Load};
use tokio::task::spawn_blocking;

use super::{
    GatewayUrl, Service,
    client::{AskError, Client},
    key::KeyFile,
    load::Gauges,
};

/// What was found out.
#[derive(Debug)]
pub(super) struct Well {
    /// How it is asked, with the key that it has just taken.
    pub(super) target: GatewayTarget,
    pub(super) load: Load,
}

/// Why it is not ready, in words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ailment {
    #[error(transparent)]
    Key(#[from] super::KeyError),
    #[error("reading the key file was broken off: {0}")]
    Reading(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{url} answers {status}: it does not accept the key in {file}", file = .file.shown())]
    KeyRefused { url: GatewayUrl, status: StatusCode, file: KeyFile },
    #[error("{url} answers {status}: it wants a key; name its file in the spec (`engine.key`)")]
    KeyWanted { url: GatewayUrl, status: StatusCode },
    #[error("{url} answers {status}")]
    Status { url: GatewayUrl, status: StatusCode },
    #[error("{url} does not list the model `{model}`; the spec can say what the service calls it (`engine.model`)")]
    NoModel { url: GatewayUrl, model: String },
    #[error("{url} says that nothing behind it is ready")]
    Empty { url: GatewayUrl },
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl Service {
    /// Looks at it. That its models include the one that is wanted is found out only for `first`, since lists can be
    /// long. Nothing is generated: at a provider, that would cost money.
    pub(super) async fn check(&self, client: &Client, first: bool) -> Result<Well, Ailment> {
        let service = self.clone();
        let target = self.target(spawn_blocking(move || service.read_key()).await??);
        let key = target.key.as_deref();
        let status = client.status(&self.health, key).await?;
        self.judge(&self.health, status)?;
        if first {
            self.find_model(client, &target).await?;
        }
        let load = self.load(client, &target).await?;
        Ok(Well { target, load })
    }

    fn judge(&self, url: &GatewayUrl, status: StatusCode) -> Result<(), Ailment> {
        let url = url.clone();
        match (status, &self.key) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(file)) => {
                Err(Ailment::KeyRefused { url, status, file: file.clone() })
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => Err(Ailment::KeyWanted { url, status }),
            _ if status.is_success() => Ok(()),
            _ => Err(Ailment::Status { url, status }),
        }
    }

    /// Whether it lists the model. One that keeps no list, or none that can be read, is believed to have it.
    async fn find_model(&self, client: &Client, target: &GatewayTarget) -> Result<(), Ailment> {
        let (status, body) = client.get(&self.models, target.key.as_deref()).await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return self.judge(&self.models, status);
        }
        match serde_json::from_slice::<Models>(&body) {
            Ok(models) if status.is_success() && !models.data.iter().any(|model| model.id == target.model) => {
                Err(Ailment::NoModel { url: self.models.clone(), model: target.model.clone() })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Its load, if it tells. Metrics that cannot be had leave the load unknown, not the service unwell.
    async fn load(&self, client: &Client, target: &GatewayTarget) -> Result<Load, Ailment> {
        let Some(url) = &self.metrics else { return Ok(Load::default()) };
        // Metrics at another port are not the service that the key is for.
        let key = target.key.as_deref().filter(|_| url.is_same_origin(&self.health));
        let gauges = match client.get(url, key).await {
            Ok((status, body)) if status.is_success() => Gauges::parse(&String::from_utf8_lossy(&body), &target.model),
            Ok((status, _)) => {
                tracing::debug!(%url, %status, "a gateway's service does not tell its load");
                Gauges::default()
            }
            Err(error) => {
                tracing::debug!(%error, "a gateway's service does not tell its load");
                Gauges::default()
            }
        };
        if gauges.is_ready == Some(false) { Err(Ailment::Empty { url: url.clone() }) } else { Ok(gauges.load) }
    }
}
