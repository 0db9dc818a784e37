//! What a spec asks for, once it is known that the node allows it.

use shoal_types::{EndpointSpec, GatewayEngine, GatewayTarget};

use super::{GatewayConfig, GatewayRefusal, GatewayUrl, KeyError, UrlError, key::KeyFile};

/// A service, and all that is ever asked of it beside requests. Every URL is one that the node allows.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    base: GatewayUrl,
    model: String,
    pub(super) key: Option<KeyFile>,
    pub(super) health: GatewayUrl,
    pub(super) models: GatewayUrl,
    pub(super) metrics: Option<GatewayUrl>,
}

impl Service {
    /// The service of `spec`, whose engine is `engine`. Looks at no file.
    pub(crate) fn new(
        config: &GatewayConfig,
        spec: &EndpointSpec,
        engine: &GatewayEngine,
    ) -> Result<Self, GatewayRefusal> {
        if spec.resources.gpus > 0 {
            return Err(GatewayRefusal::Gpus);
        }
        let base = parse(&engine.url, |url| url.parse::<GatewayUrl>())?;
        if base.path().ends_with("/v1") {
            return Err(GatewayRefusal::Version(base));
        }
        let models = base.below("/v1/models");
        let health = engine.health.as_ref().map(|path| parse(path, |path| base.at(path))).transpose()?;
        let metrics =
            engine.metrics.as_ref().map(|metrics| parse(metrics, |text| path_or_url(&base, text))).transpose()?;
        let key = engine.key.as_ref().map(|name| key_file(config, name)).transpose()?;
        let health = health.unwrap_or_else(|| models.clone());
        // Requests go to what is below `/v1`, and so does the question for its models.
        for url in [&base.below("/v1"), &health].into_iter().chain(&metrics) {
            if !config.allow.iter().any(|allowed| allowed.covers(url)) {
                return Err(GatewayRefusal::NotAllowed(url.clone()));
            }
        }
        let model = engine.model.clone().unwrap_or_else(|| spec.model.clone());
        Ok(Self { base, model, key, health, models, metrics })
    }

    /// How it is asked with `key`.
    pub(crate) fn target(&self, key: Option<String>) -> GatewayTarget {
        GatewayTarget {
            tls: self.base.tls(),
            host: self.base.host().to_owned(),
            port: self.base.port(),
            base: self.base.path().to_owned(),
            key,
            model: self.model.clone(),
        }
    }

    /// The key as it is now, if it takes one. Blocks for as long as the file system does.
    pub(crate) fn read_key(&self) -> Result<Option<String>, KeyError> {
        self.key.as_ref().map(KeyFile::read).transpose()
    }
}

fn parse(text: &str, read: impl FnOnce(&str) -> Result<GatewayUrl, UrlError>) -> Result<GatewayUrl, GatewayRefusal> {
    read(text).map_err(|source| GatewayRefusal::Url { url: text.to_owned(), source })
}

/// Metrics may have a port of their own, as those of an llm-d router do.
fn path_or_url(base: &GatewayUrl, text: &str) -> Result<GatewayUrl, UrlError> {
    if text.starts_with('/') { base.at(text) } else { text.parse() }
}

fn key_file(config: &GatewayConfig, name: &str) -> Result<KeyFile, KeyError> {
    KeyFile::named(config.key_directory.as_deref().ok_or(KeyError::NoDirectory)?, name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_types::{EngineSpec, Placement, Replicas, Resources, Rollout, Routing, Scaling};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;
    use crate::GatewayTimings;

    fn config(allow: &[&str]) -> GatewayConfig {
        let tls = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        GatewayConfig {
            allow: allow.iter().map(|url| url.parse().unwrap()).collect(),
            key_directory: Some("/keys".into()),
            tls: Arc::new(tls),
            timings: GatewayTimings::default(),
        }
    }

    fn engine(url: &str) -> GatewayEngine {
        GatewayEngine { url: url.to_owned(), model: None, key: None, health: None, metrics: None }
    }

    fn spec(engine: &GatewayEngine) -> EndpointSpec {
        EndpointSpec {
            model: "org/model".to_owned(),
            model_revision: None,
            aliases: Default::default(),
            adapters: Default::default(),
            engine: EngineSpec::Gateway(engine.clone()),
            resources: Resources::default(),
            replicas: Replicas::default(),
            scaling: Scaling::default(),
            placement: Placement::default(),
            rollout: Rollout::default(),
            routing: Routing::default(),
        }
    }

    fn service(allow: &[&str], engine: &GatewayEngine) -> Result<Service, GatewayRefusal> {
        Service::new(&config(allow), &spec(engine), engine)
    }

    #[test]
    fn a_spec_becomes_a_target_and_the_urls_to_watch() {
        let engine = GatewayEngine {
            model: Some("big".to_owned()),
            key: Some("team".to_owned()),
            metrics: Some("http://a.example:9090/metrics".to_owned()),
            ..engine("https://a.example/openai")
        };
        let service = service(&["https://a.example", "http://a.example:9090"], &engine).unwrap();
        let target = service.target(Some("k".to_owned()));
        assert_eq!((target.to_string().as_str(), &*target.model), ("https://a.example:443/openai", "big"));
        assert_eq!(service.health.to_string(), "https://a.example/openai/v1/models");
        assert_eq!(service.metrics.unwrap().to_string(), "http://a.example:9090/metrics");
        assert_eq!(service.key.unwrap().shown(), "/keys/team");
    }

    #[test]
    fn paths_of_a_spec_are_those_of_the_host_and_the_model_is_its_own() {
        let paths = GatewayEngine {
            health: Some("/healthz".to_owned()),
            metrics: Some("/metrics".to_owned()),
            ..engine("http://a.example/openai")
        };
        let service = service(&["http://a.example"], &paths).unwrap();
        assert_eq!(service.health.to_string(), "http://a.example/healthz");
        assert_eq!(service.metrics.as_ref().unwrap().to_string(), "http://a.example/metrics");
        assert_eq!(service.target(None).model, "org/model");
    }

    #[test]
    fn only_what_the_node_allows_is_ever_asked() {
        let refused = |allow: &[&str], engine: &GatewayEngine| match service(allow, engine) {
            Err(GatewayRefusal::NotAllowed(url)) => Some(url.to_string()),
            Err(other) => panic!("{other}"),
            Ok(_) => None,
        };
        let plain = engine("https://a.example/team");
        assert_eq!(refused(&[], &plain).as_deref(), Some("https://a.example/team/v1"));
        assert_eq!(refused(&["https://a.example/other"], &plain).as_deref(), Some("https://a.example/team/v1"));
        for allowed in ["https://a.example", "https://a.example/team", "https://a.example/team/v1"] {
            assert_eq!(refused(&[allowed], &plain), None, "{allowed}");
        }
        let health = GatewayEngine { health: Some("/admin".to_owned()), ..plain.clone() };
        assert_eq!(refused(&["https://a.example/team"], &health).as_deref(), Some("https://a.example/admin"));
        let metrics = GatewayEngine { metrics: Some("http://169.254.169.254/latest".to_owned()), ..plain };
        assert_eq!(refused(&["https://a.example"], &metrics).as_deref(), Some("http://169.254.169.254/latest"));
    }

    #[test]
    fn what_cannot_work_is_refused_in_words() {
        let refused = |engine: &GatewayEngine| service(&["https://a.example"], engine).unwrap_err().to_string();
        assert!(refused(&engine("a.example")).contains("`a.example` of the engine is not a URL"));
        assert!(refused(&engine("https://a.example/v1/")).contains("leave that out"));
        let key = |name: &str| GatewayEngine { key: Some(name.to_owned()), ..engine("https://a.example") };
        assert!(refused(&key("../passwd")).contains("cannot be the name of a key file"));
        let without = GatewayConfig { key_directory: None, ..config(&["https://a.example"]) };
        let none = Service::new(&without, &spec(&key("team")), &key("team")).unwrap_err();
        assert_eq!(none, GatewayRefusal::Key(KeyError::NoDirectory));
        let mut greedy = spec(&engine("https://a.example"));
        greedy.resources.gpus = 1;
        let refused = Service::new(&config(&["https://a.example"]), &greedy, &engine("https://a.example"));
        assert_eq!(refused.unwrap_err(), GatewayRefusal::Gpus);
    }
}
