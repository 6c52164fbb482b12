//! The document as it goes over the wire, in the form that Oakestra's clients know.
//!
//! Its monitor hands objects on as arguments and dies of one that it does not know, and its manager of one that it
//! misses: the fields that Oakestra has are always there, all others only where they say something.

use serde_json::{Map, Value, json};

use crate::descriptor::{AddonDescriptor, NetworkSpec, VolumeSpec};

/// A field and what it is when nothing was said.
type Filled = (&'static str, fn() -> Value);

const OF_ADDON: [Filled; 2] = [("networks", list), ("volumes", list)];
const OF_SERVICE: [Filled; 5] =
    [("environment", map), ("labels", map), ("networks", list), ("ports", map), ("volumes", list)];
const OF_VOLUME: [Filled; 3] =
    [("driver", || json!(VolumeSpec::DEFAULT_DRIVER)), ("driver_opts", map), ("labels", map)];
const OF_NETWORK: [Filled; 2] =
    [("driver", || json!(NetworkSpec::DEFAULT_DRIVER)), ("enable_ipv6", || json!(false))];

fn list() -> Value {
    json!([])
}

fn map() -> Value {
    json!({})
}

impl AddonDescriptor {
    /// The descriptor's fields at top level: those that Oakestra knows filled in with their defaults, all others only
    /// where they differ from theirs. `ports` and `environment` are maps of texts (a list only where one port is
    /// published several times), `image` stands as it was published.
    ///
    /// Reading it gives a descriptor with the same digest.
    pub fn wire_value(&self) -> Value {
        let mut wire = serde_json::to_value(self).expect("a descriptor is plain JSON");
        fill(&mut wire, &OF_ADDON);
        for (name, fields) in
            [("services", OF_SERVICE.as_slice()), ("volumes", &OF_VOLUME), ("networks", &OF_NETWORK)]
        {
            for item in wire.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
                fill(item, fields);
            }
        }
        wire
    }
}

fn fill(object: &mut Value, fields: &[Filled]) {
    let object: &mut Map<String, Value> = object.as_object_mut().expect("a struct is written as an object");
    for (name, default) in fields {
        if !object.contains_key(*name) {
            object.insert((*name).to_owned(), default());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::read;

    #[test]
    fn what_oakestra_knows_is_filled_in_and_nothing_else() {
        let text = br#"{
            "name": "probe-min",
            "services": [{ "service_name": "probe_a", "image": "busybox:1", "ports": { "80": 8080 } }],
            "volumes": [{ "name": "v" }],
            "networks": [{ "name": "n" }]
        }"#;
        let descriptor = read(text).unwrap().descriptor.unwrap();
        let expected = json!({
            "name": "probe-min",
            "services": [{
                "service_name": "probe_a", "image": "busybox:1", "environment": {}, "labels": {}, "networks": [],
                "ports": { "80": "8080" }, "volumes": []
            }],
            "volumes": [{ "name": "v", "driver": "local", "driver_opts": {}, "labels": {} }],
            "networks": [{ "name": "n", "driver": "bridge", "enable_ipv6": false }]
        });
        assert_eq!(descriptor.wire_value(), expected);
    }

    #[test]
    fn what_says_something_stays() {
        let text = br#"{
            "name": "x",
            "services": [{ "service_name": "a", "image": "b:1", "init": true, "ports": { "80": ["1", "2"] } }],
            "networks": [{ "name": "n", "external": true }]
        }"#;
        let wire = read(text).unwrap().descriptor.unwrap().wire_value();
        assert_eq!(wire["services"][0]["init"], json!(true));
        assert_eq!(wire["services"][0]["ports"], json!({ "80": ["1", "2"] }));
        assert_eq!(wire["networks"][0]["external"], json!(true));
        assert_eq!(wire["networks"][0]["enable_ipv6"], json!(false));
    }
}
