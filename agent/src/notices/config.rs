//! Who is asked, and how.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shoal_types::HumanDuration;

use super::url::MetadataUrl;

/// Least `command.interval`: a program that is started more often costs more than it tells.
pub(crate) const COMMAND_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Who says that this host will be taken away.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NoticesConfig {
    /// Spot interruptions of AWS, by IMDSv2. In a container whose network is not the host's, the instance needs a
    /// metadata hop limit of 2.
    pub(crate) aws: ProviderConfig,
    /// Preemptions and host maintenance of Google Cloud.
    pub(crate) gcp: ProviderConfig,
    /// Scheduled events of Azure for this machine.
    pub(crate) azure: ProviderConfig,
    /// A file whose presence is a notice, and whose removal takes it back. It may be empty, or say more in JSON:
    /// `{"deadline": "2026-11-22T14:05:00Z", "reason": "…"}`. A deadline such as `60s` counts from when the file was
    /// last written. Any other content is taken for the reason. Nobody but
    /// root should be able to write there.
    pub(crate) file: Option<PathBuf>,
    /// A program that knows whether there is a notice.
    pub(crate) command: Option<NoticeCommandConfig>,
    /// What a SIGTERM to the daemon means.
    pub(crate) sigterm: SigtermConfig,
}

/// The metadata service of one cloud.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ProviderConfig {
    /// Whether it is asked. Where nobody answers, it is asked ever more rarely, down to once in five minutes.
    pub(crate) enabled: bool,
    /// Base URL; default <http://169.254.169.254>.
    pub(crate) url: MetadataUrl,
    /// Time left from when capacity is seen to be reclaimed, where the notice does not say; default what the cloud
    /// promises: 2min for AWS, 30s for GCP and Azure.
    pub(crate) warning: Option<HumanDuration>,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self { enabled: true, url: MetadataUrl::default(), warning: None }
    }
}

/// A program that knows whether there is a notice.
///
/// It is started again and again, and its exit status decides. 0: there is none, unless standard output is a JSON
/// object as in `file`, with `deadline` or `reason`. 10: there is one; standard output may say more, as the content of
/// `file` may. Any other end, and taking more than ten seconds, is logged once and changes nothing: an earlier
/// notice stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NoticeCommandConfig {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub(crate) args: Vec<String>,
    /// Time from its end to its next start; default 5s.
    #[serde(default = "default_interval")]
    pub(crate) interval: HumanDuration,
}

const fn default_interval() -> HumanDuration {
    HumanDuration::from_secs(5)
}

/// What a SIGTERM to the daemon means. Several clouds, and every container runtime, give no other notice.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SigtermConfig {
    /// What ends.
    pub(crate) means: SigtermMeaning,
    /// Time left when the host ends; not more than who sent the signal waits before it kills.
    pub(crate) warning: HumanDuration,
}

impl Default for SigtermConfig {
    fn default() -> Self {
        // What Nebius gives. A pod has so long only if its terminationGracePeriodSeconds, by default 30, says so.
        Self { means: SigtermMeaning::Auto, warning: HumanDuration::from_secs(60) }
    }
}

/// What ends at a SIGTERM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SigtermMeaning {
    /// `host` in a container and while the host shuts down, otherwise `daemon`.
    #[default]
    Auto,
    /// The daemon alone: engines stay and serve on.
    Daemon,
    /// The container or the host: engines are drained.
    Host,
}

#[cfg(test)]
mod tests {
    use shoal_types::parse_documents;

    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<NoticesConfig, String> {
        let documents: Result<Vec<Config>, _> = parse_documents(text);
        documents.map(|mut documents| documents.remove(0).notices).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_says_who_is_asked() {
        let config = parse(
            "notices: {aws: {enabled: false}, azure: {url: 'http://127.0.0.1:81/a/', warning: 1m}, file: /run/notice, \
             command: {program: /bin/true}, sigterm: {means: host, warning: 7m}}",
        )
        .unwrap();
        assert!(!config.aws.enabled && config.gcp.enabled);
        assert_eq!(config.gcp.url.to_string(), "http://169.254.169.254");
        assert_eq!(config.azure.url.to_string(), "http://127.0.0.1:81/a");
        assert_eq!(config.azure.warning, Some(HumanDuration::from_secs(60)));
        assert_eq!(config.command.unwrap().interval, HumanDuration::from_secs(5));
        assert_eq!(config.sigterm.means, SigtermMeaning::Host);
        assert_eq!(SigtermConfig::default().warning, HumanDuration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = parse("notices: {gcp: {url: 'https://metadata.google.internal'}}").unwrap_err();
        assert!(error.contains("notices.gcp.url") && error.contains("http://"), "{error}");
        let error = parse("notices: {sigterm: {mean: host}}").unwrap_err();
        assert_eq!(error, "unknown field `notices.sigterm.mean`: did you mean `means`?");
    }
}
