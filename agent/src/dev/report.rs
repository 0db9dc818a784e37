//! What `shoal dev` prints when all is ready.

use std::{path::Path, time::Duration};

use serde::Serialize;
use shoal_types::Endpoint;

use super::process::NodeProcess;
use crate::admin::{Code, Problem};

/// The running mesh.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    dir: String,
    endpoint: String,
    model: String,
    ready_secs: f64,
    nodes: Vec<ReportedNode>,
}

#[derive(Debug, Serialize)]
struct ReportedNode {
    name: String,
    place: String,
    url: String,
    socket: String,
    pid: Option<i32>,
    log: String,
}

impl Report {
    pub(super) fn new(home: &Path, nodes: &[NodeProcess], example: &[Endpoint], elapsed: Duration) -> Self {
        let node = |node: &NodeProcess| ReportedNode {
            name: node.layout.name(),
            place: node.layout.place(),
            url: format!("http://{}/v1", node.layout.http()),
            socket: node.layout.socket().display().to_string(),
            pid: node.pid(),
            log: node.layout.log().display().to_string(),
        };
        let endpoint = example.first();
        Self {
            dir: home.display().to_string(),
            endpoint: endpoint.map(|endpoint| endpoint.metadata.name.to_string()).unwrap_or_default(),
            model: endpoint.map(|endpoint| endpoint.spec.model.clone()).unwrap_or_default(),
            ready_secs: elapsed.as_secs_f64(),
            nodes: nodes.iter().map(node).collect(),
        }
    }

    /// One JSON object, or text that can be pasted from.
    #[allow(clippy::print_stdout)]
    pub(super) fn print(&self, json: bool, detached: bool) -> Result<(), Problem> {
        if json {
            println!("{}", serde_json::to_string(self).map_err(|error| Problem::new(Code::Failed, error))?);
        } else {
            println!("{}", self.text(detached));
        }
        Ok(())
    }

    fn text(&self, detached: bool) -> String {
        let urls: Vec<String> =
            self.nodes.iter().map(|node| format!("  {}   {} ({})", node.url, node.name, node.place)).collect();
        let url = self.nodes.first().map(|node| node.url.as_str()).unwrap_or_default();
        let socket = self.nodes.first().map(|node| node.socket.as_str()).unwrap_or_default();
        let Self { endpoint, dir, ready_secs, .. } = self;
        let stop = if detached { "shoal dev stop" } else { "Ctrl-C" };
        format!(
            "\nReady in {ready_secs:.1} s. Any node serves any endpoint:\n{}\n\n\
             Try it (the engine is simulated: its text is made up):\n  \
             curl -N {url}/chat/completions -H 'content-type: application/json' \\\n    \
             -d '{{\"model\": \"{endpoint}\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n\n\
             With the OpenAI SDK:\n  \
             from openai import OpenAI\n  \
             client = OpenAI(base_url=\"{url}\", api_key=\"none\")\n  \
             for chunk in client.chat.completions.create(model=\"{endpoint}\", stream=True,\n          \
             messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]):\n      \
             print(chunk.choices[0].delta.content or \"\", end=\"\")\n\n\
             Look inside:   export SHOAL_SOCKET={socket}; shoal status\n\
             Break it:      kill -9 {}   (the node that answered; then ask again)\n\
             Files:         {dir}\n\
             Stop:          {stop}",
            urls.join("\n"),
            self.nodes.last().and_then(|node| node.pid).unwrap_or_default(),
        )
    }
}
