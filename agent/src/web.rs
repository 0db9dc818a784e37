//! Asking what is not of the mesh, over HTTP.

use std::{error::Error, fmt::Write as _, iter::successors, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, Url};

/// A client that gives up after `deadline`.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn client(deadline: Duration) -> reqwest::Result<Client> {
    builder(deadline).build()
}

/// One for a service of the own cluster, which is asked directly and trusted by `authorities` alone.
///
/// # Errors
/// If TLS cannot be set up.
pub(crate) fn client_within(deadline: Duration, authorities: Vec<Certificate>) -> reqwest::Result<Client> {
    builder(deadline).no_proxy().tls_certs_only(authorities).build()
}

fn builder(deadline: Duration) -> ClientBuilder {
    // reqwest has no TLS of its own here; an error means that somebody has installed one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(deadline).user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
}

/// Whose `url` it is. The rest of it is no matter for a log: many services take whoever knows their path for the owner.
pub(crate) fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "an unreadable URL".to_owned(), |url| url.origin().ascii_serialization())
}

/// What `error` says and all that caused it: reqwest's own words name only what was asked.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    for cause in successors(error.source(), |&cause| cause.source()) {
        // Writing to a String cannot fail.
        let _ = write!(said, ": {cause}");
    }
    said
}
