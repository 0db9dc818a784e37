//! Hosts on a network that can be cut, healed and made lossy.
//!
//! Each host has two links. `mesh0` leads to a bridge that all share, in a namespace of its own: addresses there need
//! not differ between tests. `mgmt0` leads to the test, which is thus in reach of every node at all times, as that
//! node's own clients are.

use std::net::Ipv4Addr;

use super::{
    namespace::{Namespace, interface_index, ip},
    weather::Weather,
};

/// A network of hosts, by index.
#[derive(Debug)]
pub(crate) struct Net {
    hosts: Vec<Host>,
    _switch: Namespace,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    /// Its address for other hosts.
    pub(crate) mesh: Ipv4Addr,
    /// Its address for the test.
    pub(crate) management: Ipv4Addr,
    weather: Weather,
}

impl Net {
    /// `count` hosts in fair weather.
    ///
    /// # Errors
    /// Saying why there can be none on this machine.
    pub(crate) fn new(count: usize) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let switch = Namespace::new()?;
        switch.ip(&["link", "add", "name", "mesh", "type", "bridge"])?;
        switch.ip(&["link", "set", "mesh", "up"])?;
        let hosts = (0..count).map(|index| Host::new(index, &switch)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, _switch: switch })
    }

    pub(crate) fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Nobody of `left` hears anybody of `right` any more, nor the other way round.
    pub(crate) fn partition(&mut self, left: &[usize], right: &[usize]) {
        for (&a, &b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
            self.deafen(a, b);
            self.deafen(b, a);
        }
        self.blow();
    }

    /// `to` does not hear `from` any more, which still hears `to`.
    pub(crate) fn mute(&mut self, from: usize, to: usize) {
        self.deafen(to, from);
        self.blow();
    }

    /// Of a thousand packets to any host, so many are lost.
    pub(crate) fn lose(&mut self, per_mille: u32) {
        self.hosts.iter_mut().for_each(|host| host.weather.lost_per_mille = per_mille);
        self.blow();
    }

    /// All packets arrive again.
    pub(crate) fn heal(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.weather = Weather::default());
        self.blow();
    }

    /// The host loses power: nothing of it answers, not even its kernel, and all processes in it are gone.
    pub(crate) fn power_off(&self, index: usize) {
        let namespace = &self.hosts[index].namespace;
        for link in ["mesh0", "mgmt0"] {
            namespace.ip(&["link", "set", link, "down"]).expect("a link can be taken down");
        }
        namespace.kill_all();
    }

    /// The host hangs: nothing that runs on it goes on.
    pub(crate) fn freeze(&self, index: usize) {
        self.hosts[index].namespace.freeze();
    }

    fn deafen(&mut self, listener: usize, sender: usize) {
        let sender = self.hosts[sender].mesh;
        self.hosts[listener].weather.deaf_to.insert(sender);
    }

    fn blow(&self) {
        for host in &self.hosts {
            host.namespace.filter(&host.weather.ruleset()).expect("packet filters can be changed");
        }
    }
}

impl Host {
    fn new(index: usize, switch: &Namespace) -> Result<Self, String> {
        let namespace = Namespace::new()?;
        let port = format!("port{index}");
        let to_switch = ["peer", "name", &port, "netns", switch.name()];
        namespace.ip(&[&["link", "add", "name", "mesh0", "type", "veth"], to_switch.as_slice()].concat())?;
        switch.ip(&["link", "set", &port, "master", "mesh", "up"])?;
        let last = u8::try_from(index + 1).map_err(|_| format!("{index} hosts are too many"))?;
        let mesh = Ipv4Addr::new(10, 77, 0, last);
        raise(&namespace, "mesh0", &format!("{mesh}/24"))?;
        let management = manage(&namespace)?;
        let host = Self { namespace, mesh, management, weather: Weather::default() };
        // What a test needs later is found to be missing now.
        host.namespace.filter(&Weather { lost_per_mille: 1, ..Weather::default() }.ruleset())?;
        host.namespace.filter(&host.weather.ruleset())?;
        Ok(host)
    }
}

/// A link between this side and `namespace`; the address of its far end.
fn manage(namespace: &Namespace) -> Result<Ipv4Addr, String> {
    let near = namespace.way_in();
    ip(&["link", "add", "name", &near, "type", "veth", "peer", "name", "mgmt0", "netns", namespace.name()])?;
    // A pair of addresses of the network that RFC 2544 sets apart for tests: by the interface's number, since test
    // processes know nothing of each other.
    let pair = (interface_index(&near)? & 0xffff) << 1;
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    let (here, there) = (Ipv4Addr::from(base | pair), Ipv4Addr::from(base | pair | 1));
    ip(&["addr", "add", &format!("{here}/31"), "dev", &near])?;
    ip(&["link", "set", &near, "up"])?;
    raise(namespace, "mgmt0", &format!("{there}/31"))?;
    Ok(there)
}

fn raise(namespace: &Namespace, link: &str, address: &str) -> Result<(), String> {
    namespace.ip(&["addr", "add", address, "dev", link])?;
    namespace.ip(&["link", "set", link, "up"])
}
