//! The names of all rules: stable, because clients and their translations know them.

macro_rules! rules {
    ($(#[$doc:meta])* $list:ident: $($name:ident = $text:literal, $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $name: &str = $text;)*

        $(#[$doc])*
        pub const $list: &[(&str, &str)] = &[$(($text, $meaning)),*];
    };
}

rules! {
    /// Every rule that a violation can name, with its meaning.
    VIOLATIONS:
    WRONG_TYPE = "wrong-type", "The value is of another JSON type than the field takes.";
    MISSING_FIELD = "missing-field", "A required field is absent or null.";
    UNKNOWN_FIELD = "unknown-field", "No field of that name exists here.";
    REPEATED_KEY = "repeated-key", "The same key stands twice in one map.";
    REPEATED_ENTRY = "repeated-entry", "The same entry stands twice in a list that is a set.";
    REPEATED_NAME = "repeated-name", "Two things have one name, or names that are read alike.";
    TOO_MANY_ENTRIES = "too-many-entries", "A list or map is longer than its limit.";
    TOO_MANY_VIOLATIONS = "too-many-violations", "The document breaks so many rules that the rest are not listed.";
    FORBIDDEN_CHARACTER = "forbidden-character", "A text holds a control character or a bidirectional control.";
    LINE_FEED = "line-feed", "A setting of one line holds a line feed.";
    TEXT_TOO_LONG = "text-too-long", "A text is longer than its limit.";
    TEXT_EMPTY = "text-empty", "An entry that must say something is empty.";
    INVALID_NAME = "invalid-name", "A name has another form than names have.";
    INVALID_VERSION = "invalid-version", "The version is not SemVer 2.0, or the range is none.";
    INVALID_LICENSE = "invalid-license", "The license is no SPDX expression.";
    INVALID_URL = "invalid-url", "The address is no http or https URL.";
    INVALID_ICON = "invalid-icon", "The icon is no PNG or WebP as a data URL of at most 32 KiB.";
    UNKNOWN_VALUE = "unknown-value", "The value is none of those that the field takes.";
    INVALID_NUMBER = "invalid-number", "The number is outside the range that the field takes, or has parts.";
    NO_SERVICE = "no-service", "An addon has at least one service.";
    INVALID_IMAGE = "invalid-image", "The image is no OCI reference.";
    INVALID_COMMAND = "invalid-command", "The line cannot be split into words.";
    VALUE_FROM_SHELL = "value-from-shell", "An entry without a value would take it from the caller's shell.";
    INVALID_KEY = "invalid-key", "The key is empty or holds what its place cannot.";
    RESERVED_LABEL = "reserved-label", "Labels under oak. and com.docker.compose. are the platform's own.";
    UNKNOWN_SYSCTL = "unknown-sysctl", "The kernel setting is not one that a container can have for itself.";
    PORTS_AS_LIST = "ports-as-list", "Ports are a map, container first.";
    INVALID_PORT = "invalid-port", "The port or range is malformed.";
    UNEQUAL_RANGES = "unequal-ranges", "The container's and the host's ranges differ in length.";
    REPEATED_PORT = "repeated-port", "One port of the container stands under two keys, or twice in one list.";
    PORT_OVERLAP = "port-overlap", "Two entries publish on the same port of the host.";
    LONG_FORM = "long-form", "The long notation of Compose is not read here.";
    INVALID_MOUNT = "invalid-mount", "The entry is no volume, path of the host, or target.";
    INVALID_PATH = "invalid-path", "The path is not absolute and normal.";
    MOUNT_TARGET = "mount-target", "Nothing can be mounted there.";
    MOUNT_OPTIONS = "mount-options", "The options of a mount are unknown, contradictory, or not for its kind.";
    REPEATED_TARGET = "repeated-target", "Two things are put at one path of the container.";
    RESERVED_NETWORK = "reserved-network", "The network is a mode of the engine, not a network.";
    INVALID_ADDRESS = "invalid-address", "The text is no IP address or subnet.";
    SUBNET_FAULT = "subnet-fault", "The subnets of a network do not go together.";
    ADDRESS_WITHOUT_SUBNET = "address-without-subnet", "A fixed address needs a declared network with a subnet that holds it.";
    REPEATED_ADDRESS = "repeated-address", "Two services have one fixed address.";
    INVALID_HOST = "invalid-host", "The text is no host or domain name.";
    FILE_SOURCE = "file-source", "A file has either content or a parameter.";
    INVALID_MODE = "invalid-mode", "The permission bits are no octal text.";
    FILES_TOO_LARGE = "files-too-large", "The contents of all files together exceed 64 KiB.";
    INVALID_HEALTHCHECK = "invalid-healthcheck", "The test is none of the forms that the engine takes.";
    INVALID_DURATION = "invalid-duration", "The text is no duration.";
    INVALID_SIZE = "invalid-size", "The text is no size.";
    MEMORY_TOO_SMALL = "memory-too-small", "The engine refuses less than 6 MiB of memory.";
    RESOURCE_CONFLICT = "resource-conflict", "Two limits contradict each other.";
    INVALID_CPUSET = "invalid-cpuset", "The text is no list of processors.";
    INVALID_USER = "invalid-user", "The text is no user or group.";
    UNKNOWN_ULIMIT = "unknown-ulimit", "The engine has no such kernel limit.";
    UNKNOWN_SIGNAL = "unknown-signal", "The engine has no such signal.";
    UNKNOWN_CAPABILITY = "unknown-capability", "The kernel has no such capability.";
    UNKNOWN_PLATFORM = "unknown-platform", "No engine runs on such a platform.";
    INVALID_DEVICE = "invalid-device", "The entry is no device.";
    EXTERNAL_WITH_SETTINGS = "external-with-settings", "What is somebody else's cannot be set up here.";
    NETWORK_MODE_CONFLICT = "network-mode-conflict", "The network mode leaves no room for this field.";
    NAMESPACE_CONFLICT = "namespace-conflict", "The setting needs a namespace that the service does not have for itself.";
    UNKNOWN_SERVICE = "unknown-service", "No service of that name is in the document.";
    DEPENDENCY_CYCLE = "dependency-cycle", "Services wait for each other.";
    NEVER_COMPLETES = "never-completes", "Its restart policy lets that service never complete.";
    START_FIRST_CONFLICT = "start-first-conflict", "Two containers at once cannot both have this.";
    REQUIRES_ITSELF = "requires-itself", "An addon cannot require itself.";
    UNKNOWN_PARAMETER = "unknown-parameter", "No parameter of that name is declared.";
    PARAMETER_TYPE = "parameter-type", "A parameter of that type cannot stand here.";
    NOT_FOR_THIS_TYPE = "not-for-this-type", "Parameters of this type have no such field.";
    INVALID_PATTERN = "invalid-pattern", "The pattern is no regular expression.";
    BOUNDS_REVERSED = "bounds-reversed", "The lower bound is above the upper one.";
    DEFAULT_OUT_OF_BOUNDS = "default-out-of-bounds", "The default is not what the parameter itself allows.";
    SECRET_WITH_DEFAULT = "secret-with-default", "A secret has no default.";
}

rules! {
    /// The rules that only values of parameters break; they break many of [`VIOLATIONS`] too.
    VALUES:
    MISSING_VALUE = "missing-value", "The parameter needs a value, and none is given.";
    VALUE_OUT_OF_BOUNDS = "value-out-of-bounds", "The value lies outside the bounds of its parameter, or does not match its pattern.";
    NOT_GENERATED = "not-generated", "No secret that was made matches the pattern of its parameter.";
}

rules! {
    /// Every rule that a warning can name, with its meaning.
    WARNINGS:
    IGNORED_FIELD = "ignored-field", "Services add this field to their answers; it is not part of a descriptor.";
    EMPTY_FIELD = "empty-field", "An empty or null value is read as if the field were absent.";
    NAME_WITH_BLANKS = "name-with-blanks", "The name is kept as the title, and its blanks become hyphens.";
    VOLUME_DRIVER_BRIDGE = "volume-driver-bridge", "No volume driver is called bridge; local is meant.";
    UNDECLARED_VOLUME = "undeclared-volume", "The volume is declared by being named.";
    UNDECLARED_NETWORK = "undeclared-network", "The network is somebody else's, since nobody declares it.";
    PLATFORM_NETWORK = "platform-network", "A declared network of the platform's name is the platform's network.";
    BOOLEAN_WORD = "boolean-word", "A word or number stands for true or false.";
    NO_EFFECT = "no-effect", "The setting changes nothing beside another one.";
    MOVING_TAG = "moving-tag", "The tag is latest, or there is none: what it means changes.";
    NO_HEALTHCHECK = "no-healthcheck", "Nothing tells whether the service works.";
    HEALTHY_WITHOUT_CHECK = "healthy-without-check", "Healthy means running for 10 s here, unless the image has a check.";
    NO_MEMORY_LIMIT = "no-memory-limit", "The service may use all memory of the host.";
    ROOT_USER = "root-user", "The service is said to run as root.";
    LOOKS_LIKE_SECRET = "looks-like-secret", "A secret in a descriptor is public.";
    REQUIRED_WITH_DEFAULT = "required-with-default", "A required parameter's default is never used.";
    PARAMETER_UNUSED = "parameter-unused", "Nothing in the document uses the parameter.";
    UNKNOWN_REFERENCE = "unknown-reference", "The reference is near to a parameter and stays as it is.";
}
