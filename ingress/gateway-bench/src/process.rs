//! Processes that are measured, and what they use.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{client::Target, ingress};

/// A server, which ends with this.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
    _directory: Option<TempDir>,
}

impl Process {
    /// This program in another `role`, which prints its address.
    pub fn of_ours(role: &str, args: &[String]) -> Self {
        let mut child =
            Command::new(env::current_exe().unwrap()).arg(role).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { address: line.trim().parse().unwrap(), child, _directory: None }
    }

    /// What the ingress serves, or another proxy before the same engines.
    pub fn target(&self) -> Target {
        Target { address: self.address, endpoint: ingress::ENDPOINT, key: ingress::key().into() }
    }

    /// The CPU that its threads have used, and its children's.
    pub fn cpu(&self) -> Duration {
        cpu(&self.pids())
    }

    /// Bytes of memory that it has, and its children.
    pub fn memory(&self) -> u64 {
        let kilobytes = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        self.pids().into_iter().filter_map(kilobytes).sum::<u64>() << 10
    }

    fn pids(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        [own].into_iter().chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx' workers end with it when it is told to, and not when it is killed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// The CPU that the threads of the processes `pids` have used.
pub fn cpu(pids: &[u32]) -> Duration {
    let tasks = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten();
    let nanos = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(|task| nanos(task.ok()?)).sum())
}

/// nginx before `engines`, as it is tuned for streams; `None` if there is no such program.
pub fn nginx(engines: &[String]) -> Option<Process> {
    let directory = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = directory.path().display();
    let servers: String = engines.iter().map(|engine| format!("server {engine}; ")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {at}/{what}; "))
        .collect();
    let workers = std::thread::available_parallelism().unwrap();
    let config = format!(
        "daemon off; worker_processes {workers}; pid {at}/pid; error_log {at}/errors; worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 8192; }}\n\
         http {{ access_log off; {temporary} keepalive_requests 10000000; tcp_nodelay on;\n\
           client_body_buffer_size 1m; client_max_body_size 64m;\n\
           upstream engines {{ {servers} keepalive 1024; keepalive_requests 10000000; }}\n\
           server {{ listen {address} backlog=4096; location / {{ proxy_pass http://engines; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_buffering off; proxy_read_timeout 600s; }} }} }}\n"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, config).unwrap();
    let program = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
        Command::new(program).arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    })?;
    let child = Command::new(program).arg("-p").arg(directory.path()).arg("-c").arg(&file).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "nginx does not listen");
        sleep(Duration::from_millis(10));
    }
    Some(Process { address, child, _directory: Some(directory) })
}
