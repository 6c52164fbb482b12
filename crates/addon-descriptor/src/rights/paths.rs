//! Which paths and devices of a host give root on it.
//!
//! By their names alone: symbolic links are the host's secret, so that what may reach further is named dangerous anyway.

/// Folders from which root on the host follows, whatever is done with them.
const ROOT_FOLDERS: [&str; 24] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/root",
    "/run/containerd",
    "/run/crio",
    "/run/docker",
    "/run/docker.sock",
    "/run/podman",
    "/run/systemd",
    "/run/user",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/spool/cron",
];

/// Files and folders below them that many containers read and that give nothing away.
const HARMLESS_TO_READ: [&str; 8] = [
    "/etc/hostname",
    "/etc/hosts",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/os-release",
    "/etc/resolv.conf",
    "/etc/timezone",
    "/usr/share/zoneinfo",
];

/// Where the engine listens.
pub(super) const DOCKER_SOCKET: &str = "/run/docker.sock";

/// The path without `..`, `.` and `//`, and with the old name of `/run` replaced by it.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if let ["var", "run", ..] = parts.as_slice() {
        parts.remove(0);
    }
    format!("/{}", parts.join("/"))
}

/// Whether `inner` is `outer` or lies below it.
fn is_within(inner: &str, outer: &str) -> bool {
    outer == "/" || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the engine's socket is at this path or below it.
pub(super) fn holds_docker_socket(path: &str) -> bool {
    let path = clean(path);
    // `/var` holds the old name of `/run`.
    is_within(DOCKER_SOCKET, &path) || path == "/var"
}

/// Whether root on the host follows from this path.
pub(super) fn gives_root(path: &str, read_only: bool) -> bool {
    if !path.starts_with('/') {
        return false;
    }
    let path = clean(path);
    if read_only && HARMLESS_TO_READ.iter().any(|harmless| is_within(&path, harmless)) {
        return false;
    }
    holds_docker_socket(&path)
        || ROOT_FOLDERS.iter().any(|folder| is_within(&path, folder) || is_within(folder, &path))
}

/// Devices that hold a file system or memory of the host: exact names, or the beginnings of numbered ones.
pub(super) fn is_disk_or_memory(device: &str) -> bool {
    const EXACT: [&str; 6] = ["mem", "kmem", "port", "kcore", "core", "cpu"];
    const BEGINNINGS: [&str; 18] = [
        "sd", "sg", "hd", "vd", "xvd", "nvme", "mmcblk", "dm-", "md", "loop", "nbd", "zd", "sr", "bcache",
        "ram", "zram", "drbd", "dasd",
    ];
    const FOLDERS: [&str; 6] = ["mapper", "disk", "block", "cpu", "zvol", "md"];
    let device = clean(device);
    let Some(name) = device.strip_prefix("/dev/") else { return false };
    match name.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder) || name.starts_with("bsg/"),
        None => {
            EXACT.contains(&name)
                || FOLDERS.contains(&name)
                || BEGINNINGS.iter().any(|start| {
                    name.strip_prefix(start)
                        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parents_of_the_socket_hold_it() {
        for path in
            ["/var/run/docker.sock", "/run/docker.sock", "/run", "/var/run", "/var", "/", "/srv/../run"]
        {
            assert!(holds_docker_socket(path), "{path}");
        }
        for path in ["/run/docker.sock.d", "/srv", "/var/lib", "/run/dbus"] {
            assert!(!holds_docker_socket(path), "{path}");
        }
    }

    #[test]
    fn parents_of_what_gives_root_give_it_too() {
        assert!(gives_root("/var/lib", true));
        assert!(gives_root("/var/run/podman/podman.sock", false));
        assert!(!gives_root("/var/log", false));
        assert!(gives_root("/etc/localtime", false), "writable, it can be replaced");
    }

    #[test]
    fn disks_are_known_by_their_names() {
        for device in
            ["/dev/sda", "/dev/nvme0n1p1", "/dev/mapper/root", "/dev/dm-0", "/dev/mem", "/dev/disk/by-id/x"]
        {
            assert!(is_disk_or_memory(device), "{device}");
        }
        for device in ["/dev/ttyUSB0", "/dev/kvm", "/dev/video0", "/dev/snd/seq", "/dev/rtc0", "/srv/sda"] {
            assert!(!is_disk_or_memory(device), "{device}");
        }
    }
}
