//! Descriptors that several tests publish.

use serde_json::{Value, json};

/// The example of Oakestra's manual as it stands there, with the image's name replaced by one that exists.
pub fn oakestra_example(image: &str) -> Value {
    json!({
        "name": "addon-name",
        "networks": [],
        "volumes": [{"name": "myvolume", "driver": "bridge"}],
        "services": [{
            "image": image,
            "service_name": "my_service",
            "networks": [],
            "volumes": ["myvolume:/somevolume"],
            "ports": {"10007": "10007"}
        }]
    })
}

/// A service that serves the demo page, checks its own health ten times a second, and stops at once when told to.
pub fn demo_service(name: &str, image: &str) -> Value {
    json!({
        "service_name": name,
        "image": image,
        "healthcheck": {
            "test": ["CMD", "/demo-addon", "healthcheck"],
            "interval": "100ms", "timeout": "2s", "retries": 3
        }
    })
}
