//! What a container finds in its file system beside its image: volumes, paths of the host, memory, small files.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::names::{ParameterName, VolumeName};

/// One entry of `volumes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where: an absolute, normal path inside the container, not `/`.
    pub target: String,
    /// How.
    pub options: MountOptions,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A volume of the addon; each is declared, by itself or by being named here.
    Volume(VolumeName),
    /// An absolute, normal path of the host.
    HostPath(String),
    /// A path of the host that a `path` parameter gives.
    HostParameter(ParameterName),
    /// A volume of the addon without a name of its own: it belongs to this service and target.
    Anonymous,
}

/// The options of a mount; the default is read and write, nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `ro`
    pub read_only: bool,
    /// `z` or `Z`
    pub selinux: Option<SelinuxLabel>,
    /// `nocopy`: a new volume does not take over what the image has there. Volumes only.
    pub nocopy: bool,
    /// Paths of the host only; `None`: the engine's default, `rprivate`.
    pub propagation: Option<Propagation>,
}

/// Relabelling for SELinux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelinuxLabel {
    /// `z`
    Shared,
    /// `Z`
    Private,
}

/// How mounts below a path of the host are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// `private`
    Private,
    /// `rprivate`
    RPrivate,
    /// `shared`
    Shared,
    /// `rshared`
    RShared,
    /// `slave`
    Slave,
    /// `rslave`
    RSlave,
}

impl Propagation {
    /// What the engine takes when none is given.
    pub const DEFAULT: Self = Self::RPrivate;

    /// Every one, in the order of the engine's documentation.
    pub const ALL: [Self; 6] =
        [Self::Private, Self::RPrivate, Self::Shared, Self::RShared, Self::Slave, Self::RSlave];

    /// As the engine writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Shared => "shared",
            Self::RShared => "rshared",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
        }
    }
}

impl SelinuxLabel {
    /// `z` or `Z`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "z",
            Self::Private => "Z",
        }
    }
}

impl MountOptions {
    /// The options that differ from the default, in the order of the canonical form.
    pub fn words(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        if self.read_only {
            words.push("ro");
        }
        words.extend(self.selinux.map(SelinuxLabel::as_str));
        if self.nocopy {
            words.push("nocopy");
        }
        words.extend(self.propagation.map(Propagation::as_str));
        words
    }
}

impl fmt::Display for MountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(name) => write!(f, "{name}"),
            Self::HostPath(path) => f.write_str(path),
            Self::HostParameter(name) => write!(f, "${{{name}}}"),
            Self::Anonymous => Ok(()),
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source != MountSource::Anonymous {
            write!(f, "{}:", self.source)?;
        }
        f.write_str(&self.target)?;
        let words = self.options.words();
        if words.is_empty() { Ok(()) } else { write!(f, ":{}", words.join(",")) }
    }
}

impl Serialize for Mount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A file system in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// An absolute, normal path inside the container, not `/`.
    pub target: String,
    /// As `mount` takes them: `size=64m`, `mode=1777`, `noexec`.
    pub options: Vec<String>,
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)?;
        if self.options.is_empty() { Ok(()) } else { write!(f, ":{}", self.options.join(",")) }
    }
}

impl Serialize for Tmpfs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A small file that a service finds, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSpec {
    /// An absolute, normal path inside the container.
    pub path: String,
    /// What is in it.
    #[serde(flatten)]
    pub source: FileSource,
    /// Permission bits; default `0444`.
    #[serde(skip_serializing_if = "is_default_mode", serialize_with = "octal")]
    pub mode: u32,
}

impl FileSpec {
    /// Permission bits when none are given: everyone reads.
    pub const DEFAULT_MODE: u32 = 0o444;
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSource {
    /// This text, *substituted*.
    Content(String),
    /// The value of a parameter.
    Parameter(ParameterName),
}

fn is_default_mode(mode: &u32) -> bool {
    *mode == FileSpec::DEFAULT_MODE
}

fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_written_in_its_short_form() {
        let mut mount = Mount {
            source: MountSource::HostPath("/srv".to_owned()),
            target: "/data".to_owned(),
            options: MountOptions::default(),
        };
        assert_eq!(mount.to_string(), "/srv:/data");
        mount.options.read_only = true;
        mount.options.propagation = Some(Propagation::RSlave);
        assert_eq!(mount.to_string(), "/srv:/data:ro,rslave");
        let anonymous = Mount { source: MountSource::Anonymous, options: MountOptions::default(), ..mount };
        assert_eq!(anonymous.to_string(), "/data");
        assert_eq!(anonymous.options, MountOptions::default());
    }
}
