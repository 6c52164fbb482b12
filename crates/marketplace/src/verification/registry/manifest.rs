//! Manifests and indexes as a registry serves them (OCI image specification 1.1, Docker image
//! manifest version 2 schema 2). Pure: bytes in, what the check needs out.
//!
//! Sizes and counts are bounded, a document that could be read in two ways is refused, and nothing here follows a link.

use addon_descriptor::Digest;
use serde::Deserialize;

use super::platform::Platform;

/// Largest manifest or index, in bytes: what registries and container engines take themselves.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Largest image configuration, in bytes.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;
/// Most layers of one image. overlay2 stops at 128 lower folders.
const MAX_LAYERS: usize = 128;
/// Most entries of one index: the widest public images have some forty.
const MAX_ENTRIES: usize = 256;
/// Largest sum of the declared sizes of one image, in bytes.
const MAX_IMAGE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// What to put in `Accept`: everything that can be judged, so that a registry never has to convert.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// One manifest document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// A list of images, one a platform.
    Index(Vec<Entry>),
    /// One image.
    Image {
        /// Digest of its configuration.
        config: Digest,
        /// Compressed size of its layers and its configuration, in bytes.
        bytes: u64,
        /// How many layers it has.
        layers: usize,
    },
}

/// One image that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Digest of the manifest.
    pub digest: Digest,
    /// What it runs on; `None` where the index does not say.
    pub platform: Option<Platform>,
    /// The entry is an index itself.
    pub is_index: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, serde_json::Value>,
}

/// What bytes are by their outline, before they are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outline {
    /// A JSON object with a schema version.
    Manifest,
    /// They end before they say what they are.
    CutShort,
    /// Something else, as the page of a gateway.
    Foreign,
}

/// What bytes are by their outline.
pub fn outline(bytes: &[u8]) -> Outline {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(rename = "schemaVersion")]
        _schema_version: serde::de::IgnoredAny,
    }
    match serde_json::from_slice::<Versioned>(bytes) {
        Ok(_) => Outline::Manifest,
        Err(error) if error.is_eof() => Outline::CutShort,
        Err(_) => Outline::Foreign,
    }
}

/// Reads a manifest or an index.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the image's name.
pub fn read(bytes: &[u8]) -> Result<Manifest, String> {
    let document: Document = serde_json::from_slice(bytes)
        .map_err(|error| format!("has a manifest that cannot be read: {error}"))?;
    if document.schema_version != Some(2) {
        return Err(
            "has a manifest of an old schema that engines no longer take; build and push it again".to_owned()
        );
    }
    match (document.manifests, document.config, document.layers) {
        (Some(manifests), None, None) => read_index(manifests),
        (None, Some(config), Some(layers)) => read_image(&config, &layers),
        // One reader would see an index and another an image: neither is right.
        _ => Err("has a manifest that is neither an index nor an image".to_owned()),
    }
}

fn read_index(manifests: Vec<Descriptor>) -> Result<Manifest, String> {
    if manifests.len() > MAX_ENTRIES {
        return Err(format!("has an index of more than {MAX_ENTRIES} entries"));
    }
    let mut entries = Vec::with_capacity(manifests.len());
    for entry in manifests.into_iter().filter(|entry| !entry.is_attestation()) {
        entries.push(Entry {
            digest: entry.digest()?,
            is_index: matches!(entry.media_type.as_str(), OCI_INDEX | DOCKER_INDEX),
            platform: entry.platform,
        });
    }
    Ok(Manifest::Index(entries))
}

fn read_image(config: &Descriptor, layers: &[Descriptor]) -> Result<Manifest, String> {
    if !matches!(config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
        return Err(format!("is no container image: its configuration is of type {:?}", config.media_type));
    }
    if config.size > MAX_CONFIG_BYTES as u64 {
        return Err(format!("has a configuration of more than {MAX_CONFIG_BYTES} bytes"));
    }
    if layers.len() > MAX_LAYERS {
        return Err(format!("has more than {MAX_LAYERS} layers"));
    }
    let sizes = layers.iter().map(|layer| layer.size).chain([config.size]);
    let bytes = sizes.fold(0_u64, u64::saturating_add);
    if bytes > MAX_IMAGE_BYTES {
        return Err(format!(
            "says that it has {bytes} bytes, more than the {MAX_IMAGE_BYTES} that are taken"
        ));
    }
    Ok(Manifest::Image { config: config.digest()?, bytes, layers: layers.len() })
}

impl Descriptor {
    fn digest(&self) -> Result<Digest, String> {
        let invalid = |_| format!("names a part by {:?}, which is no SHA-256 digest", self.digest);
        self.digest.parse().map_err(invalid)
    }

    /// Provenance and signatures that BuildKit puts into the index beside the images.
    fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn digest(n: u8) -> String {
        Digest::of(&[n]).to_string()
    }

    fn part(media_type: &str, n: u8, size: u64) -> Value {
        json!({"mediaType": media_type, "digest": digest(n), "size": size})
    }

    fn check(document: &Value) -> Result<Manifest, String> {
        read(&serde_json::to_vec(document).unwrap())
    }

    #[test]
    fn an_image_has_a_configuration_and_a_size() {
        let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
        let image = json!({
            "schemaVersion": 2, "config": part(OCI_CONFIG, 1, 100),
            "layers": [part(layer, 2, 1000), part(layer, 3, 20)],
        });
        let expected = Manifest::Image { config: Digest::of(&[1]), bytes: 1120, layers: 2 };
        assert_eq!(check(&image), Ok(expected));
    }

    #[test]
    fn an_index_names_its_images_and_not_their_attestations() {
        let mut amd = part("application/vnd.oci.image.manifest.v1+json", 1, 500);
        amd["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let mut unknown = part("application/vnd.oci.image.manifest.v1+json", 2, 500);
        unknown["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        let mut attestation = part("application/vnd.oci.image.manifest.v1+json", 3, 500);
        attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        let nested = part(OCI_INDEX, 4, 10);
        let index = json!({"schemaVersion": 2, "manifests": [amd, unknown, attestation, nested]});
        let Ok(Manifest::Index(entries)) = check(&index) else { panic!("no index") };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].platform.as_ref().unwrap().to_string(), "linux/amd64");
        assert!(entries[1].is_index && entries[1].platform.is_none());
    }

    #[test]
    fn a_document_with_two_readings_is_refused() {
        let both =
            json!({"schemaVersion": 2, "manifests": [], "config": part(OCI_CONFIG, 1, 1), "layers": []});
        assert!(check(&both).unwrap_err().contains("neither"));
        assert!(check(&json!({"schemaVersion": 2})).unwrap_err().contains("neither"));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let chart = json!({
            "schemaVersion": 2, "layers": [], "config": part("application/vnd.cncf.helm.config.v1+json", 1, 1),
        });
        assert!(check(&chart).unwrap_err().contains("no container image"));
        assert!(check(&json!({"schemaVersion": 1, "fsLayers": []})).unwrap_err().contains("old schema"));
        assert!(read(b"<html>").unwrap_err().contains("cannot be read"));
        let mut bad = part(OCI_CONFIG, 1, 1);
        bad["digest"] = json!("sha512:00");
        let bad = json!({"schemaVersion": 2, "config": bad, "layers": []});
        assert!(check(&bad).unwrap_err().contains("no SHA-256"));
    }

    #[test]
    fn counts_and_sizes_are_bounded() {
        let layers: Vec<_> = (0..129).map(|_| part("x", 1, 1)).collect();
        let image = json!({"schemaVersion": 2, "config": part(OCI_CONFIG, 1, 1), "layers": layers});
        assert!(check(&image).unwrap_err().contains("layers"));
        for (size, expected) in
            [(0, true), (MAX_IMAGE_BYTES - 7, true), (MAX_IMAGE_BYTES, false), (u64::MAX, false)]
        {
            let layers = [part("x", 1, size), part("x", 2, 5)];
            let image = json!({"schemaVersion": 2, "config": part(OCI_CONFIG, 1, 2), "layers": layers});
            assert_eq!(check(&image).is_ok(), expected, "{size}");
        }
        let config = json!({"schemaVersion": 2, "config": part(OCI_CONFIG, 1, (1 << 20) + 1), "layers": []});
        assert!(check(&config).unwrap_err().contains("configuration of more than"));
        let entries: Vec<_> = (0..257).map(|_| part(OCI_INDEX, 1, 1)).collect();
        assert!(check(&json!({"schemaVersion": 2, "manifests": entries})).unwrap_err().contains("entries"));
    }

    #[test]
    fn manifests_are_told_from_pages_of_gateways() {
        let image = json!({"schemaVersion": 2, "config": part(OCI_CONFIG, 1, 1), "layers": []});
        let bytes = serde_json::to_vec(&image).unwrap();
        assert_eq!(outline(&bytes), Outline::Manifest);
        assert_eq!(outline(br#"{"schemaVersion": 1}"#), Outline::Manifest);
        for end in 0..bytes.len() {
            assert_eq!(outline(&bytes[..end]), Outline::CutShort, "{end}");
        }
        for foreign in ["<html>", "{}", "[]", "7", "\"text\"", "not found"] {
            assert_eq!(outline(foreign.as_bytes()), Outline::Foreign, "{foreign}");
        }
    }
}
