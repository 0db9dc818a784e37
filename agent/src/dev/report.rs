//! What `shoal dev` prints when all is ready.

use std::{path::Path, time::Duration};

use serde::Serialize;
use shoal_types::Liveness;

use super::{layout::admin_token, process::NodeProcess};
use crate::{
    admin::{Code, EndpointStatus, Problem},
    cli::{DevArgs, out},
    daemon::own_binary,
};

/// The running mesh.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    dir: String,
    endpoint: String,
    model: String,
    ready_secs: f64,
    /// The file with what opens the dashboards.
    admin_token: String,
    nodes: Vec<ReportedNode>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedNode {
    name: String,
    place: String,
    url: String,
    /// Its dashboard.
    dashboard: Option<String>,
    socket: String,
    pid: Option<i32>,
    log: String,
    /// The file that says how its GPUs are, with `--gpus mock`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_state: Option<String>,
    /// Ready replicas of the endpoint.
    replicas: usize,
}

impl Report {
    /// `nodes`, with these dashboards, serve `endpoint`, after `elapsed`.
    pub(super) fn new(
        home: &Path,
        nodes: &[NodeProcess],
        dashboards: Vec<Option<String>>,
        endpoint: &EndpointStatus,
        elapsed: Duration,
    ) -> Self {
        let serving = endpoint
            .status
            .replicas
            .iter()
            .filter(|replica| replica.state.serves() && replica.liveness == Liveness::Alive);
        let node = |(node, dashboard): (&NodeProcess, Option<String>)| ReportedNode {
            name: node.layout.name(),
            place: node.layout.place(),
            url: format!("http://{}/v1", node.layout.http()),
            dashboard,
            socket: node.layout.socket().display().to_string(),
            pid: node.pid(),
            log: node.layout.log().display().to_string(),
            gpu_state: Some(node.layout.gpu_state())
                .filter(|path| path.exists())
                .map(|path| path.display().to_string()),
            replicas: serving.clone().filter(|replica| replica.node == node.layout.name()).count(),
        };
        Self {
            dir: home.display().to_string(),
            endpoint: endpoint.endpoint.metadata.name.to_string(),
            model: endpoint.endpoint.spec.model.clone(),
            ready_secs: elapsed.as_secs_f64(),
            admin_token: admin_token(home).display().to_string(),
            nodes: nodes.iter().zip(dashboards).map(node).collect(),
        }
    }

    /// One JSON object, or text that can be pasted from. That nobody reads it is no error.
    pub(super) fn print(&self, args: &DevArgs) -> Result<(), Problem> {
        let text = if args.json {
            serde_json::to_string(self).map_err(|error| Problem::new(Code::Failed, error))?
        } else {
            self.text(&own_binary()?.display().to_string(), args)
        };
        out(&format!("{text}\n"))
    }

    fn text(&self, program: &str, args: &DevArgs) -> String {
        let urls: Vec<String> =
            self.nodes.iter().map(|node| format!("  {}   {} ({})", node.url, node.name, node.place)).collect();
        let url = self.nodes.first().map(|node| node.url.as_str()).unwrap_or_default();
        let socket = quoted(self.nodes.first().map(|node| node.socket.as_str()).unwrap_or_default());
        let Self { endpoint, dir, ready_secs, .. } = self;
        let dashboard = self.dashboard();
        let (break_it, gpus, stop) = (self.break_it(), self.gpus(), self.stop(program, args));
        let program = quoted(program);
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
             {dashboard}\
             Look inside:   export SHOAL_SOCKET={socket}; {program} status\n\
             {break_it}{gpus}\
             Files:         {dir}\n\
             Stop:          {stop}",
            urls.join("\n"),
        )
    }

    /// Where the dashboard is, and what opens it.
    fn dashboard(&self) -> String {
        let url = self.nodes.first().and_then(|node| node.dashboard.as_ref());
        url.map_or_else(String::new, |url| {
            format!("Dashboard:     {url}   (sign in with what is in {})\n", quoted(&self.admin_token))
        })
    }

    /// How to kill a node that serves, and not the one that the other lines talk to; nothing if there is none.
    fn break_it(&self) -> String {
        let all: usize = self.nodes.iter().map(|node| node.replicas).sum();
        let serving = self.nodes.iter().skip(1).find_map(|node| node.pid.filter(|_| node.replicas > 0).zip(Some(node)));
        serving.map_or_else(String::new, |(pid, ReportedNode { name, replicas, .. })| {
            format!("Break it:      kill -9 {pid}   ({name}, with {replicas} of the {all} replicas; then ask again)\n")
        })
    }

    /// Where to make a GPU ill; nothing if they are simulated.
    fn gpus(&self) -> String {
        let state = self.nodes.first().and_then(|node| node.gpu_state.as_ref());
        state.map_or_else(String::new, |path| format!("GPUs:          edit {} and its like\n", quoted(path)))
    }

    fn stop(&self, program: &str, args: &DevArgs) -> String {
        match (args.detach, &args.dir) {
            (false, _) => "Ctrl-C".to_owned(),
            (true, None) => format!("{} dev stop", quoted(program)),
            (true, Some(_)) => format!("{} dev stop --dir {}", quoted(program), quoted(&self.dir)),
        }
    }
}

/// `text` as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DevGpus;

    fn report(replicas: &[usize]) -> Report {
        let node = |(index, &replicas): (usize, &usize)| ReportedNode {
            name: format!("node-{index}"),
            place: String::new(),
            url: format!("http://127.0.0.1:{}/v1", 8080 + index),
            dashboard: Some("http://127.0.0.1:7701/ui/".to_owned()),
            socket: format!("/my mesh/node-{index}/admin.sock"),
            pid: i32::try_from(100 + index).ok(),
            log: String::new(),
            gpu_state: None,
            replicas,
        };
        Report {
            dir: "/my mesh".to_owned(),
            endpoint: "hello".to_owned(),
            model: String::new(),
            ready_secs: 1.0,
            admin_token: "/my mesh/admin-token".to_owned(),
            nodes: replicas.iter().enumerate().map(node).collect(),
        }
    }

    fn args(detach: bool, dir: Option<&str>) -> DevArgs {
        DevArgs {
            verb: None,
            nodes: 3,
            http_base: 8080,
            gpus: DevGpus::Simulated(2),
            mock_nvml: None,
            dir: dir.map(Into::into),
            json: false,
            detach,
        }
    }

    #[test]
    fn the_node_to_kill_serves_and_is_not_the_one_that_is_asked() {
        let text = report(&[1, 0, 1]).text("shoal", &args(false, None));
        assert!(text.contains("kill -9 102   (node-2, with 1 of the 2 replicas;"), "{text}");
        assert!(!report(&[2]).text("shoal", &args(false, None)).contains("kill"));
        assert!(!report(&[2, 0]).text("shoal", &args(false, None)).contains("kill"));
    }

    #[test]
    fn commands_can_be_pasted() {
        let stop = |detach, dir| {
            let text = report(&[1]).text("/opt/my shoal", &args(detach, dir));
            assert!(text.contains("SHOAL_SOCKET='/my mesh/node-0/admin.sock'; '/opt/my shoal' status\n"), "{text}");
            assert!(text.contains("http://127.0.0.1:7701/ui/   (sign in with what is in '/my mesh/admin-token')"));
            text.split_once("Stop:").unwrap().1.trim().to_owned()
        };
        assert_eq!(stop(false, Some("my mesh")), "Ctrl-C");
        assert_eq!(stop(true, None), "'/opt/my shoal' dev stop");
        assert_eq!(stop(true, Some("my mesh")), "'/opt/my shoal' dev stop --dir '/my mesh'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
