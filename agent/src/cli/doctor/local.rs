//! What is found on this host, with a daemon or without.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{StatVfs, statvfs};
use shoal_mesh::{Identity, IdentityError, clock, transport::SOCKET_BUFFER};
use shoal_types::MemorySize;

use super::{finding::Finding, paths::of_certificate};
use crate::{cli::IDENTITY_DIR, config::Config, inventory::count_gpus, program};

/// Longest wait for the driver, which may hang, and for systemd.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where the driver says its version.
const DRIVER_VERSION: &str = "/proc/driver/nvidia/version";
/// Where systemd is, if this host was started by it.
const SYSTEMD: &str = "/run/systemd/system";
/// Less is soon used up by logs and the store alone.
const DISK_FAIL: u64 = 1 << 30;
/// Part of a disk that should be free.
const DISK_WARN_PERCENT: u64 = 5;

pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = gpus(config).await;
    findings.extend(engines(config));
    findings.extend(disks(config));
    findings.extend(udp_buffers(|name| fs::read_to_string(Path::new("/proc/sys/net/core").join(name)).ok()));
    findings.push(identity(&config.state_dir()));
    findings.extend(unit().await);
    findings
}

async fn gpus(config: &Config) -> Vec<Finding> {
    let driver = fs::read_to_string(DRIVER_VERSION).ok();
    let driver = driver.as_deref().and_then(|text| text.lines().next()).map(|line| Finding::ok("driver", line.trim()));
    let nvml = match count_gpus(config.gpus.library.clone(), DEADLINE).await {
        Ok(count) => Finding::ok("nvml", format!("it answers, and knows {count} GPU(s)")),
        Err(why) if !config.gpus.simulated.is_empty() => {
            Finding::ok("nvml", format!("{why}; `gpus.simulated` is used instead"))
        }
        Err(why) if driver.is_some() => {
            Finding::fail("nvml", why, "install libnvidia-ml of the driver's version, or set `gpus.library`")
        }
        Err(why) => Finding::warn(
            "nvml",
            format!("{why}: this node has no GPUs"),
            "install NVIDIA's driver; a node without GPUs only takes requests for others",
        ),
    };
    driver.into_iter().chain([nvml]).collect()
}

/// The programs of the engines that are offered.
fn engines(config: &Config) -> Vec<Finding> {
    let engines = &config.engines;
    let kinds = [
        ("vllm", &engines.vllm, "vllm"),
        ("sglang", &engines.sglang, "python3"),
        ("trtllm", &engines.trtllm, "trtllm-serve"),
        ("llamacpp", &engines.llamacpp, "llama-server"),
    ];
    let offered = kinds.into_iter().filter_map(|(kind, program, default)| {
        let program = program.as_ref()?;
        Some((format!("engines.{kind}.binary"), program.binary.clone().unwrap_or_else(|| PathBuf::from(default))))
    });
    let commands = engines
        .commands
        .iter()
        .map(|(name, command)| (format!("engines.commands.{name}.program"), command.program.clone()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut findings: Vec<Finding> =
        offered.chain(commands).map(|(field, program)| of_program(&field, &program, &directories)).collect();
    if engines.sim {
        findings.push(Finding::ok("engine", "the simulated engine is offered"));
    }
    if engines.gateway.is_some() {
        findings.push(Finding::ok("engine", "gateways are offered"));
    }
    if findings.is_empty() {
        let hint =
            "offer one in `engines:` of /etc/shoal/shoal.yaml; `shoal explain config.engines` says which there are";
        findings.push(Finding::warn("engine", "none is offered: this node runs no replicas", hint));
    }
    findings
}

/// One without a `/` is looked for in `directories`.
fn of_program(field: &str, program: &Path, directories: &[PathBuf]) -> Finding {
    let candidates = if program.components().count() > 1 {
        vec![program.to_owned()]
    } else {
        directories.iter().map(|directory| directory.join(program)).collect()
    };
    let runs =
        |path: &&PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    match candidates.iter().find(runs) {
        Some(found) => Finding::ok("engine", found.display()),
        None => Finding::fail(
            "engine",
            format!("{} is not there, or cannot be run", program.display()),
            format!("install it, or say in `{field}` where it is"),
        ),
    }
}

fn disks(config: &Config) -> Vec<Finding> {
    let weights = config.weights.as_ref().and_then(|weights| weights.cache.clone());
    [Some(config.state_dir()), weights].into_iter().flatten().map(|directory| disk(&directory)).collect()
}

fn disk(directory: &Path) -> Finding {
    // What is not there yet will be made on the file system of what is.
    let there = directory.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    match statvfs(there) {
        Ok(stat) => of_disk(directory, &stat),
        Err(error) => {
            let hint = format!("look at it: ls -ld {}", there.display());
            Finding::fail("disk", format!("{} cannot be looked at: {error}", directory.display()), hint)
        }
    }
}

fn of_disk(directory: &Path, stat: &StatVfs) -> Finding {
    let bytes = |blocks: u64| MemorySize::from_bytes(blocks.saturating_mul(stat.f_frsize));
    let (free, all) = (bytes(stat.f_bavail), bytes(stat.f_blocks));
    let message = format!("{}: {free} free of {all}", directory.display());
    let hint = format!("make room, or move it; what takes it: du -xh {} | sort -h | tail", directory.display());
    if free.as_bytes() < DISK_FAIL {
        Finding::fail("disk", message, hint)
    } else if free.as_bytes() / DISK_WARN_PERCENT < all.as_bytes() / 100 {
        Finding::warn("disk", message, hint)
    } else {
        Finding::ok("disk", message)
    }
}

/// `read` gives a limit of the kernel.
fn udp_buffers(read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let limit = |name: &str| Some((name.to_owned(), read(name)?.trim().parse::<usize>().ok()?));
    let limits = ["rmem_max", "wmem_max"].into_iter().filter_map(limit);
    let finding = |(name, limit): (String, usize)| {
        let (limit_is, wanted) = (MemorySize::from_bytes(limit as u64), MemorySize::from_bytes(SOCKET_BUFFER as u64));
        if limit >= SOCKET_BUFFER {
            return Finding::ok("udp", format!("net.core.{name} is {limit_is}"));
        }
        Finding::warn(
            "udp",
            format!("net.core.{name} is {limit_is}, the mesh socket asks for {wanted}: bursts lose packets"),
            format!("sysctl -w net.core.{name}={SOCKET_BUFFER}, and the same line in /etc/sysctl.d"),
        )
    };
    limits.map(finding).collect()
}

/// Whether this host is a node, and whether it can prove it.
fn identity(state_dir: &Path) -> Finding {
    match Identity::load(&state_dir.join(IDENTITY_DIR)) {
        Ok(identity) => of_certificate(identity.not_after(), clock::now()),
        Err(IdentityError::Missing { .. }) => Finding::warn(
            "certificate",
            format!("{} has no identity: this host is no node", state_dir.display()),
            "shoal init for a new mesh, or shoal join TOKEN-FILE",
        ),
        Err(error) => Finding::fail("certificate", error, "run this as the daemon's user, or with sudo"),
    }
}

/// The daemon's unit, where there is systemd.
async fn unit() -> Option<Finding> {
    if !Path::new(SYSTEMD).exists() {
        return None;
    }
    let args = ["show", "shoal.service", "--property=LoadState,ActiveState,SubState,NeedDaemonReload"];
    Some(match program::run(Path::new("systemctl"), &args, &[], DEADLINE).await {
        Ok(finished) => of_unit(&finished.stdout),
        Err(error) => Finding::warn("unit", error, "systemctl status shoal"),
    })
}

fn of_unit(properties: &str) -> Finding {
    let value = |name: &str| {
        let mut lines = properties.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value).unwrap_or_default()
    };
    let (load, active, sub) = (value("LoadState"), value("ActiveState"), value("SubState"));
    match (load, active) {
        ("not-found", _) => Finding::warn("unit", "there is no unit shoal.service", "install shoal's package"),
        (_, "failed") => Finding::fail("unit", format!("shoal.service has failed ({sub})"), "journalctl -eu shoal"),
        _ if value("NeedDaemonReload") == "yes" => {
            Finding::warn("unit", "shoal.service was changed on disk since it was read", "systemctl daemon-reload")
        }
        (_, "active") => Finding::ok("unit", format!("shoal.service is {active} ({sub})")),
        _ => Finding::warn("unit", format!("shoal.service is {active} ({sub})"), "systemctl enable --now shoal"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn a_program_is_found_as_a_daemon_would_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("engine");
        fs::write(&plain, "#!/bin/sh\n").unwrap();
        let directories = [dir.path().to_owned()];
        let level = |program: &Path| of_program("engines.vllm.binary", program, &directories).level;
        assert_eq!(level(Path::new("engine")), Level::Fail, "it cannot be run");
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!((level(Path::new("engine")), level(&plain)), (Level::Ok, Level::Ok));
        assert_eq!(level(Path::new("other")), Level::Fail);
        assert_eq!(level(Path::new("/nonexistent/engine")), Level::Fail);
    }

    #[test]
    fn small_buffers_of_the_kernel_are_told_with_the_line_that_mends_them() {
        let found = udp_buffers(|name| Some(if name == "rmem_max" { "212992\n" } else { "8388608\n" }.to_owned()));
        assert_eq!((found[0].level, found[1].level), (Level::Warn, Level::Ok));
        assert!(found[0].hint.as_ref().unwrap().contains("net.core.rmem_max=4194304"), "{found:?}");
        assert!(udp_buffers(|_| None).is_empty(), "not Linux, or not visible");
    }

    #[test]
    fn a_full_disk_is_told_before_it_is_full() {
        let level = |free: u64, all: u64| {
            let mut stat = statvfs("/").unwrap();
            (stat.f_frsize, stat.f_bavail, stat.f_blocks) = (1, free, all);
            of_disk(Path::new("/var/lib/shoal"), &stat).level
        };
        let gib = 1 << 30;
        assert_eq!(level(gib / 2, 100 * gib), Level::Fail);
        assert_eq!(level(4 * gib, 100 * gib), Level::Warn);
        assert_eq!(level(6 * gib, 100 * gib), Level::Ok);
    }

    #[test]
    fn a_unit_is_read_from_what_systemd_says() {
        let level = |text: &str| of_unit(text).level;
        assert_eq!(level("LoadState=loaded\nActiveState=active\nSubState=running\nNeedDaemonReload=no\n"), Level::Ok);
        assert_eq!(
            level("LoadState=loaded\nActiveState=active\nSubState=running\nNeedDaemonReload=yes\n"),
            Level::Warn
        );
        assert_eq!(level("LoadState=loaded\nActiveState=failed\nSubState=failed\n"), Level::Fail);
        assert_eq!(level("LoadState=not-found\nActiveState=inactive\n"), Level::Warn);
        assert_eq!(level("LoadState=loaded\nActiveState=inactive\nSubState=dead\n"), Level::Warn);
    }

    #[test]
    fn a_host_without_an_identity_is_told_how_to_get_one() {
        let dir = tempfile::tempdir().unwrap();
        let found = identity(dir.path());
        assert_eq!(found.level, Level::Warn);
        assert!(found.hint.unwrap().contains("shoal join"));
    }
}
