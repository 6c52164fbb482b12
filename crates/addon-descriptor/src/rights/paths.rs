//! Which paths and devices of a host give root on it.
//!
//! By their names alone: symbolic links are the host's secret, so that what may reach further is named dangerous anyway.

/// Folders from which root on the host follows, whatever is done with them.
const ROOT_FOLDERS: [&str; 46] = [
    "/bin",
    "/boot",
    "/efi",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/opt",
    "/ostree",
    "/proc",
    "/root",
    "/run/balena",
    "/run/balena-engine.sock",
    "/run/buildkit",
    "/run/containerd",
    "/run/cri-dockerd.sock",
    "/run/crio",
    "/run/dbus",
    "/run/docker",
    "/run/docker.sock",
    "/run/dockershim.sock",
    "/run/incus",
    "/run/k3s",
    "/run/libvirt",
    "/run/podman",
    "/run/snap.docker",
    "/run/systemd",
    "/run/user",
    "/sbin",
    "/sys",
    "/sysroot",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/incus",
    "/var/lib/kubelet",
    "/var/lib/lxd",
    "/var/lib/rancher",
    "/var/snap/docker",
    "/var/snap/lxd",
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

/// The path without `..`, `.` and `//`, and with the old name of `/run` replaced by it before a `..` behind it is
/// followed, as the kernel does.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop();
            }
            "run" if parts == ["var"] => parts = vec!["run"],
            part => parts.push(part),
        }
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
    const EXACT: [&str; 15] = [
        "mem", "kmem", "port", "kcore", "core", "cpu", "root", "raw", "mapper", "disk", "block", "char",
        "zvol", "md", "bsg",
    ];
    const BEGINNINGS: [&str; 26] = [
        "sd", "sg", "hd", "vd", "xvd", "nvme", "mmcblk", "dm-", "md", "loop", "nbd", "zd", "sr", "bcache",
        "ram", "zram", "drbd", "dasd", "mtd", "ubi", "pmem", "dax", "rbd", "ublk", "fd", "raw",
    ];
    // A folder with another name may be one of logical volumes, which are called as their owner likes.
    const HARMLESS_FOLDERS: [&str; 18] = [
        "accel",
        "bus",
        "cec",
        "dma_heap",
        "dri",
        "dvb",
        "hugepages",
        "infiniband",
        "input",
        "lirc",
        "mqueue",
        "net",
        "pts",
        "serial",
        "shm",
        "snd",
        "usb",
        "v4l",
    ];
    let device = clean(device);
    let Some(name) = device.strip_prefix("/dev/") else { return false };
    match name.split_once('/') {
        Some((folder, _)) => !HARMLESS_FOLDERS.contains(&folder) && !folder.starts_with("nvidia"),
        None => {
            EXACT.contains(&name)
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
    fn what_lies_behind_the_old_name_of_run_is_found() {
        assert_eq!(clean("/var/run/../etc"), "/etc");
        assert_eq!(clean("/var/./run//docker.sock"), "/run/docker.sock");
        assert_eq!(clean("/srv/var/run"), "/srv/var/run");
        assert_eq!(clean("/var/x/../run/../usr"), "/usr");
    }

    #[test]
    fn other_engines_and_the_homes_of_administrators_give_root() {
        for path in [
            "/run/k3s/containerd",
            "/var/run/balena-engine.sock",
            "/run/snap.docker/x.sock",
            "/var/snap/docker",
            "/run/buildkit/buildkitd.sock",
            "/run/cri-dockerd.sock",
            "/run/dockershim.sock",
            "/run/libvirt/libvirt-sock",
            "/var/lib/containers/storage",
            "/var/lib/rancher",
            "/var/lib/lxd/unix.socket",
            "/var/lib/incus",
            "/var/snap/lxd/common",
            "/run/incus",
            "/run/dbus/system_bus_socket",
            "/home/somebody/.ssh",
            "/opt",
            "/nix/store",
            "/sysroot",
            "/ostree",
            "/efi",
        ] {
            assert!(gives_root(path, true), "{path}");
        }
        for path in ["/srv", "/var/log", "/mnt/films", "/run/udev", "/var/lib/mysql", "/homes"] {
            assert!(!gives_root(path, false), "{path}");
        }
    }

    #[test]
    fn disks_are_known_by_their_names() {
        for device in [
            "/dev/sda",
            "/dev/nvme0n1p1",
            "/dev/mapper/root",
            "/dev/dm-0",
            "/dev/mem",
            "/dev/disk/by-id/x",
            "/dev/mtd0",
            "/dev/mtdblock0",
            "/dev/pmem0",
            "/dev/dax0.0",
            "/dev/rbd0",
            "/dev/ublkb0",
            "/dev/fd0",
            "/dev/root",
            "/dev/raw/raw1",
            "/dev/raw1",
            "/dev/vg0/root",
            "/dev/cpu/0/msr",
            "/dev/char/1:1",
            "/dev/block",
        ] {
            assert!(is_disk_or_memory(device), "{device}");
        }
        for device in [
            "/dev/ttyUSB0",
            "/dev/kvm",
            "/dev/video0",
            "/dev/snd/seq",
            "/dev/rtc0",
            "/srv/sda",
            "/dev/dri/renderD128",
            "/dev/net/tun",
            "/dev/bus/usb/001/002",
            "/dev/serial/by-id/usb-stick",
            "/dev/nvidia-caps/nvidia-cap1",
            "/dev/fuse",
            "/dev/random",
        ] {
            assert!(!is_disk_or_memory(device), "{device}");
        }
    }
}
