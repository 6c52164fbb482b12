//! Manifests and indexes as a registry serves them (OCI image specification 1.1, Docker image
//! manifest version 2 schema 2). Pure: bytes in, what the check needs out.
//!
//! Sizes and counts are bounded, a document that could be read in two ways is refused, and nothing here follows a link.

use addon_descriptor::Digest;
use serde::Deserialize;

use super::platform::{NotAPlatform, Platform, Written};

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
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// One manifest document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// A list of images, one a platform.
    Index(Index),
    /// One image.
    Image {
        /// Digest of its configuration.
        config: Digest,
        /// Compressed size of its layers and its configuration, in bytes.
        bytes: u64,
        /// How many layers it has.
        layers: usize,
    },
    /// Something else that registries keep (a signature, a chart); of which type its configuration is.
    Other(String),
}

/// What an index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its images and further indexes, without what no engine would run.
    pub entries: Vec<Entry>,
    /// How many entries are left out because what they are for is written in a way that no host can match.
    pub left_out: usize,
}

/// One image that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Size of the manifest, in bytes.
    pub bytes: u64,
    /// What it runs on; `None` where the index does not say.
    pub platform: Option<Platform>,
    /// The entry is an index itself.
    pub is_index: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u32>,
    media_type: Option<String>,
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
    platform: Option<Written>,
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
    let manifest = match (document.manifests, document.config, document.layers) {
        (Some(manifests), None, None) => read_index(manifests),
        // Builders write a list without entries as null, or not at all.
        (None, Some(config), layers) => read_image(&config, &layers.unwrap_or_default()),
        // One reader would see an index and another an image: neither is right.
        _ => Err("has a manifest that is neither an index nor an image".to_owned()),
    }?;
    match document.media_type {
        Some(media_type) if !manifest.goes_by(&media_type) => {
            Err(format!("has a manifest that calls itself {media_type:?}, which it is not"))
        }
        _ => Ok(manifest),
    }
}

impl Manifest {
    /// Whether engines, which go by the type, read the same in it. Types that are none of a manifest say nothing.
    pub fn goes_by(&self, media_type: &str) -> bool {
        match media_type {
            OCI_INDEX | DOCKER_INDEX => matches!(self, Self::Index(_)),
            OCI_MANIFEST | DOCKER_MANIFEST => !matches!(self, Self::Index(_)),
            _ => true,
        }
    }
}

fn read_index(manifests: Vec<Descriptor>) -> Result<Manifest, String> {
    if manifests.len() > MAX_ENTRIES {
        return Err(format!("has an index of more than {MAX_ENTRIES} entries"));
    }
    let mut index = Index { entries: Vec::with_capacity(manifests.len()), left_out: 0 };
    for entry in manifests {
        let is_index = matches!(entry.media_type.as_str(), OCI_INDEX | DOCKER_INDEX);
        let (digest, bytes) = (entry.digest(), entry.size);
        let platform = match entry.platform.map(read_platform).transpose()? {
            None => None,
            Some(Ok(platform)) if platform.is_unknown() => continue,
            Some(Ok(platform)) => Some(platform),
            Some(Err(NotAPlatform)) => {
                index.left_out += 1;
                continue;
            }
        };
        index.entries.push(Entry { digest: digest?, bytes, platform, is_index });
    }
    Ok(Manifest::Index(index))
}

/// What an entry is for: the entry is run by that alone, whatever its annotations say that it is. The inner error is for
/// one that no host matches.
fn read_platform(written: Written) -> Result<Result<Platform, NotAPlatform>, String> {
    if written.is_partial() {
        return Err("has an index with an entry that says half of a platform".to_owned());
    }
    Ok(written.try_into())
}

fn read_image(config: &Descriptor, layers: &[Descriptor]) -> Result<Manifest, String> {
    if !matches!(config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
        return Ok(Manifest::Other(config.media_type.clone()));
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

    fn entries(listed: &Value) -> Index {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed});
        let Ok(Manifest::Index(index)) = check(&index) else { panic!("no index: {listed}") };
        index
    }

    fn listed(n: u8, platform: &Value) -> Value {
        let mut entry = part(OCI_MANIFEST, n, 500);
        entry["platform"] = platform.clone();
        entry
    }

    #[test]
    fn an_index_names_its_images_and_not_their_attestations() {
        let mut attestation = listed(2, &json!({"os": "unknown", "architecture": "unknown"}));
        attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        let amd = listed(1, &json!({"os": "linux", "architecture": "amd64"}));
        let index = entries(&json!([amd, attestation, part(OCI_INDEX, 4, 10)]));
        assert_eq!((index.entries.len(), index.left_out), (2, 0));
        assert_eq!(index.entries[0].platform.as_ref().unwrap().to_string(), "linux/amd64");
        assert!(index.entries[1].is_index && index.entries[1].platform.is_none());
    }

    #[test]
    fn what_an_engine_would_run_is_an_image_whatever_it_is_called() {
        let mut called = listed(1, &json!({"os": "linux", "architecture": "amd64"}));
        called["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        let mut silent = part(OCI_MANIFEST, 2, 500);
        silent["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
        silent["artifactType"] = json!("application/x");
        assert_eq!(entries(&json!([called, silent])).entries.len(), 2);
        called["annotations"] = json!(null);
        assert_eq!(entries(&json!([called])).entries.len(), 1);
    }

    #[test]
    fn platforms_that_no_host_has_are_left_out_and_half_ones_refused() {
        let odd = [json!("x\u{0}y"), json!("a".repeat(300_000)), json!("amd64\n<script>")];
        let odd: Vec<Value> =
            odd.iter().map(|word| listed(1, &json!({"os": "linux", "architecture": word}))).collect();
        let index = entries(&json!(odd));
        assert_eq!((index.entries.len(), index.left_out), (0, 3));
        // containerd takes its own operating system where none is said.
        for half in [json!({"os": "", "architecture": "amd64"}), json!({"os": "linux", "architecture": ""})] {
            let index = json!({"schemaVersion": 2, "manifests": [listed(1, &half)]});
            assert!(check(&index).unwrap_err().contains("half of a platform"), "{half}");
        }
        let index = json!({"schemaVersion": 2, "manifests": [listed(1, &json!({"architecture": "amd64"}))]});
        assert!(check(&index).is_err());
    }

    #[test]
    fn a_manifest_is_what_it_calls_itself() {
        let image = json!({"schemaVersion": 2, "config": part(OCI_CONFIG, 1, 1), "layers": null});
        let index = json!({"schemaVersion": 2, "manifests": []});
        for (document, media_type, expected) in [
            (&image, json!(OCI_MANIFEST), true),
            (&image, json!(DOCKER_MANIFEST), true),
            (&image, json!(null), true),
            (&image, json!(OCI_INDEX), false),
            (&index, json!(DOCKER_INDEX), true),
            (&index, json!(OCI_MANIFEST), false),
        ] {
            let mut document = document.clone();
            document["mediaType"] = media_type;
            assert_eq!(check(&document).is_ok(), expected, "{document}");
        }
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
        assert_eq!(check(&chart), Ok(Manifest::Other("application/vnd.cncf.helm.config.v1+json".to_owned())));
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
