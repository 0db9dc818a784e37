//! The host itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use shoal_types::{Host, MemorySize};
use sysinfo::{Networks, System};

/// Processors, memory and system as they are now.
pub(crate) fn host() -> Host {
    let system = System::new().ok().map(|mut system| {
        system.refresh_memory();
        system.refresh_cpu_all();
        system
    });
    let kernel = System::kernel_version().map(|kernel| format!("kernel {kernel}"));
    let os = [System::long_os_version().ok(), kernel.ok()];
    Host {
        cpus: system.as_ref().map_or(0, |system| u32::try_from(system.cpus().len()).unwrap_or(u32::MAX)),
        memory: MemorySize::from_bytes(system.as_ref().map_or(0, System::total_memory)),
        os: os.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// The host's name, without its domain.
pub(crate) fn host_name() -> String {
    let name = System::host_name().unwrap_or_default();
    match name.split('.').next() {
        Some(first) if !first.is_empty() => first.to_owned(),
        _ => "node".to_owned(),
    }
}

/// The addresses under which others may reach this host: those from which it would talk to a far one, or, where it has
/// no route to any, those of its interfaces.
pub(crate) fn host_addresses() -> Vec<IpAddr> {
    let sources = source_addresses();
    if sources.is_empty() { interface_addresses() } else { sources }
}

fn interface_addresses() -> Vec<IpAddr> {
    let Ok(networks) = Networks::new_with_refreshed_list() else { return Vec::new() };
    let addresses = networks.values().flat_map(|network| network.ip_networks()).map(|network| network.addr);
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    addresses.filter(usable).collect()
}

/// The sources that the kernel picks for a far destination. Connecting a UDP socket only consults the routing table;
/// nothing is sent.
fn source_addresses() -> Vec<IpAddr> {
    // Documentation addresses (RFC 5737, RFC 3849): routed like any far host, owned by nobody.
    let far = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let source = |(bind, to): (&str, &str)| -> Option<IpAddr> {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().as_ref().map(SocketAddr::ip)
    };
    far.into_iter().filter_map(source).filter(|address| !address.is_loopback()).collect()
}
