//! What lets a container do more, or less, than others: capabilities, security options, devices.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::modes::serialize_as_text;
use crate::violation::Invalid;

serialize_as_text!(Capability, Device, Gpus);

/// A capability of the kernel without `CAP_`, upper case: `NET_ADMIN`; or `ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(&'static str);

impl Capability {
    /// Every capability (capabilities(7)) and `ALL`.
    pub const ALL: [&str; 42] = [
        "ALL",
        "AUDIT_CONTROL",
        "AUDIT_READ",
        "AUDIT_WRITE",
        "BLOCK_SUSPEND",
        "BPF",
        "CHECKPOINT_RESTORE",
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "IPC_LOCK",
        "IPC_OWNER",
        "KILL",
        "LEASE",
        "LINUX_IMMUTABLE",
        "MAC_ADMIN",
        "MAC_OVERRIDE",
        "MKNOD",
        "NET_ADMIN",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_RAW",
        "PERFMON",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYSLOG",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_NICE",
        "SYS_PACCT",
        "SYS_PTRACE",
        "SYS_RAWIO",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "WAKE_ALARM",
    ];

    /// What Docker gives every container (its documentation, "Runtime privilege and Linux capabilities").
    pub const DOCKER_DEFAULT: [&str; 14] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];

    /// Without `CAP_`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether Docker gives it to every container.
    pub fn is_docker_default(self) -> bool {
        Self::DOCKER_DEFAULT.contains(&self.0)
    }
}

impl FromStr for Capability {
    type Err = Invalid;

    /// Reads it with or without `CAP_`, in any case.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        Self::ALL
            .into_iter()
            .find(|name| *name == bare && (*name != "ALL" || upper == "ALL"))
            .map(Self)
            .ok_or_else(|| Invalid::new("not a capability of the kernel, such as `NET_ADMIN` or `ALL`"))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Security options; the default is what the host gives every container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecurityOptions {
    /// Programs cannot gain rights by set-user-id bits; default `true`.
    pub no_new_privileges: bool,
    /// System calls are not filtered; default `false`.
    pub seccomp_unconfined: bool,
    /// No AppArmor profile; default `false`.
    pub apparmor_unconfined: bool,
    /// No SELinux separation; default `false`.
    pub label_disable: bool,
}

impl Default for SecurityOptions {
    fn default() -> Self {
        Self {
            no_new_privileges: true,
            seccomp_unconfined: false,
            apparmor_unconfined: false,
            label_disable: false,
        }
    }
}

impl SecurityOptions {
    /// The options that differ from the default, as they are written.
    pub fn words(&self) -> Vec<&'static str> {
        [
            (!self.no_new_privileges, "no-new-privileges:false"),
            (self.seccomp_unconfined, "seccomp=unconfined"),
            (self.apparmor_unconfined, "apparmor=unconfined"),
            (self.label_disable, "label=disable"),
        ]
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
        .collect()
    }
}

impl Serialize for SecurityOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words())
    }
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its absolute, normal path on the host.
    pub host: String,
    /// Its path inside the container; default the same.
    pub container: String,
    /// May be read (`r`); with the next two, the default is all.
    pub read: bool,
    /// May be written (`w`).
    pub write: bool,
    /// May be made with `mknod` (`m`).
    pub mknod: bool,
}

impl Device {
    /// `rwm`, or a part of it.
    pub fn permissions(&self) -> String {
        [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')]
            .into_iter()
            .filter_map(|(set, letter)| set.then_some(letter))
            .collect()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permissions = self.permissions();
        match (permissions == "rwm", self.host == self.container) {
            (true, true) => f.write_str(&self.host),
            (true, false) => write!(f, "{}:{}", self.host, self.container),
            (false, _) => write!(f, "{}:{}:{permissions}", self.host, self.container),
        }
    }
}

/// Graphics processors of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gpus {
    /// Every one.
    All,
    /// So many; at least 1.
    Count(u32),
}

impl fmt::Display for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Count(n) => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_in_any_case_with_and_without_prefix() {
        for text in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"] {
            assert_eq!(text.parse::<Capability>().unwrap().as_str(), "NET_ADMIN");
        }
        assert_eq!("all".parse::<Capability>().unwrap().as_str(), "ALL");
        for text in ["CAP_ALL", "NET", "", "CAP_"] {
            assert!(text.parse::<Capability>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_is_written_in_its_shortest_form() {
        let mut device = Device {
            host: "/dev/a".to_owned(),
            container: "/dev/a".to_owned(),
            read: true,
            write: true,
            mknod: true,
        };
        assert_eq!(device.to_string(), "/dev/a");
        device.mknod = false;
        assert_eq!(device.to_string(), "/dev/a:/dev/a:rw");
    }
}
