//! Where the files of a node of `shoal dev` are, and what is in its configuration.

use std::{
    fs,
    io::{self, Write as _},
    net::UdpSocket,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::gpus::{NodeGpus, state_file};
use crate::admin::{Code, Problem};

/// The endpoint that shows that it works.
pub(super) const EXAMPLE: &str = include_str!("example.yaml");

/// Files and addresses of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeLayout {
    home: PathBuf,
    dir: PathBuf,
    index: u16,
    spot: bool,
    http_port: u16,
}

impl NodeLayout {
    /// Makes the directory and writes the configuration, unless a mesh that ran here before left one.
    pub(super) fn prepare(
        home: &Path,
        index: u16,
        nodes: u16,
        (http_port, mesh_port): (u16, u16),
        gpus: &NodeGpus,
    ) -> Result<Self, Problem> {
        // The first two thirds are at home, the rest is rented.
        let spot = u32::from(index) * 3 >= u32::from(nodes) * 2;
        let layout = Self { home: home.to_owned(), dir: home.join(format!("node-{index}")), index, spot, http_port };
        layout.write(mesh_port, gpus).map_err(|error| {
            Problem::new(Code::Failed, format!("cannot write the files of {}: {error}", layout.name()))
        })?;
        Ok(layout)
    }

    fn write(&self, mesh_port: u16, gpus: &NodeGpus) -> io::Result<()> {
        fs::create_dir_all(self.state_dir())?;
        gpus.prepare(&self.dir, self.index)?;
        let mesh_port = match fs::read_to_string(self.mesh_port_file()) {
            // Peers remember each other's addresses: a mesh that is started again keeps its ports.
            Ok(port) => port.trim().parse().unwrap_or(mesh_port),
            Err(_) => mesh_port,
        };
        fs::write(self.mesh_port_file(), mesh_port.to_string())?;
        fs::write(self.config(), self.config_text(mesh_port, gpus))
    }

    fn config_text(&self, mesh_port: u16, gpus: &NodeGpus) -> String {
        let (cluster, zone, capacity, price) = self.standing();
        let (name, http) = (self.name(), self.http());
        let (state, socket, gpus) = (self.state_dir(), self.socket(), gpus.config_text(&self.dir));
        let admin_token = admin_token(&self.home);
        format!(
            "node:\n  name: {name}\n  labels: {{cluster: {cluster}, zone: {zone}, capacityType: {capacity}, price: {price}}}\n\
             stateDir: {state:?}\nmesh: {{listen: \"127.0.0.1:{mesh_port}\", gossipInterval: 200ms}}\n\
             ingress: {{listen: \"{http}\"}}\nadmin: {{socket: {socket:?}, listen: \"127.0.0.1:0\", tokenFile: {admin_token:?}}}\n\
             {gpus}# Nothing outlives a mesh that is killed by more than this.\n\
             engines: {{sim: true, orphanGrace: 2s}}\nplacement: {{settle: 1200ms, step: 600ms}}\n"
        )
    }

    const fn standing(&self) -> (&'static str, &'static str, &'static str, &'static str) {
        if self.spot { ("burst", "burst-1", "spot", "1.90") } else { ("home", "home-1", "on-demand", "6.90") }
    }

    pub(super) fn write_token(&self, token: &str) -> Result<(), Problem> {
        write_secret(&self.token(), token)
            .map_err(|error| Problem::new(Code::Failed, format!("cannot write the token of {}: {error}", self.name())))
    }

    pub(super) fn name(&self) -> String {
        format!("node-{}", self.index)
    }

    /// `cluster/zone, capacity type`.
    pub(super) fn place(&self) -> String {
        let (cluster, zone, capacity, _) = self.standing();
        format!("{cluster}/{zone}, {capacity}")
    }

    pub(super) fn http(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("shoal.yaml")
    }

    pub(super) fn token(&self) -> PathBuf {
        self.dir.join("join-token")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// What says how its GPUs are, if they are those of the stand-in for NVIDIA's library.
    pub(super) fn gpu_state(&self) -> PathBuf {
        state_file(&self.dir)
    }

    fn mesh_port_file(&self) -> PathBuf {
        self.dir.join("mesh-port")
    }
}

/// The file with the token of the admin API of all nodes in `home`, by which the dashboard is opened.
pub(super) fn admin_token(home: &Path) -> PathBuf {
    home.join("admin-token")
}

/// Makes that token, unless there is one from before.
pub(super) fn prepare_admin_token(home: &Path) -> Result<(), Problem> {
    let path = admin_token(home);
    if path.exists() {
        return Ok(());
    }
    let token = format!("{:032x}", rand::random::<u128>());
    write_secret(&path, &token)
        .map_err(|error| Problem::new(Code::Failed, format!("cannot write {}: {error}", path.display())))
}

/// For the owner's eyes only.
fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())
}

/// UDP ports that are free now. All are held at once, so that they differ.
pub(super) fn free_ports(count: u16) -> Result<Vec<u16>, Problem> {
    let bind = || UdpSocket::bind("127.0.0.1:0");
    let sockets: io::Result<Vec<UdpSocket>> = (0..count).map(|_| bind()).collect();
    let ports = sockets.and_then(|sockets| sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect());
    ports.map_err(|error| Problem::new(Code::Failed, format!("cannot find free UDP ports on loopback: {error}")))
}
