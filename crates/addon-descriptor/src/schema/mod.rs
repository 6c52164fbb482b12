//! The JSON Schema (2020-12) of a descriptor, built from the tables that the reader reads by.
//!
//! It is for editors and for a first check elsewhere: what it refuses the reader refuses too, and the reader knows
//! more. Unknown keys, types, notations and closed sets are in it; what lies across fields is not.

mod service;

use serde_json::{Map, Value, json};

use crate::descriptor::Platform;
use crate::fields::{self, Presence, Table};
use crate::parameters::ParameterKind;
use crate::read::document::MAX_THINGS;

/// The schema as it is committed and served.
pub const SCHEMA_TEXT: &str = include_str!("../../schema/addon.schema.json");

/// Builds the schema.
pub fn schema() -> Value {
    let Value::Object(mut root) = object(&fields::ADDON, addon) else {
        unreachable!("an object schema is an object")
    };
    let properties = root.get_mut("properties").and_then(Value::as_object_mut).expect("made just now");
    for name in fields::ADDED_BY_SERVICES {
        properties
            .insert((*name).to_owned(), described(json!({}), "Added by services to their answers; ignored."));
    }
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("Addon descriptor"));
    schema.extend(root);
    schema.insert("$defs".to_owned(), definitions());
    Value::Object(schema)
}

fn definitions() -> Value {
    json!({
        "text": { "type": "string", "maxLength": 8192 },
        "scalar": { "type": ["string", "number", "boolean"] },
        "objectName": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" },
        "addonName": { "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" },
        "networkName": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
            "not": { "enum": ["host", "none"] }
        },
        "parameterName": { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,62}$" },
        "path": { "type": "string", "pattern": "^/" },
        "duration": { "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(h|m|s|ms|us|µs|ns))+$" },
        "size": {
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?([bB]|[kKmMgGtTpP]([iI]?[bB])?)?$" }
            ]
        },
        "map": {
            "type": "object",
            "maxProperties": 256,
            "propertyNames": { "minLength": 1 },
            "additionalProperties": { "$ref": "#/$defs/scalar" }
        },
        "mapOrList": {
            "anyOf": [
                { "$ref": "#/$defs/map" },
                { "type": "array", "maxItems": 256, "items": { "type": "string", "pattern": "^[^=]+=" } }
            ]
        },
        "labels": {
            "anyOf": [
                {
                    "$ref": "#/$defs/map",
                    "propertyNames": { "not": { "pattern": "^(oak|com\\.docker\\.compose)\\." } }
                },
                {
                    "type": "array",
                    "maxItems": 256,
                    "items": {
                        "type": "string",
                        "pattern": "^[^=]+=",
                        "not": { "pattern": "^(oak|com\\.docker\\.compose)\\." }
                    }
                }
            ]
        },
        "platform": { "enum": platforms() },
        "service": object(&fields::SERVICE, service::field),
        "volume": object(&fields::VOLUME, volume),
        "network": object(&fields::NETWORK, network),
        "parameter": object(&fields::PARAMETER, parameter)
    })
}

fn platforms() -> Vec<&'static str> {
    Platform::ALL.into_iter().chain(["linux/arm", "linux/arm64/v8", "linux/amd64/v1"]).collect()
}

/// The schema of an object: its table's fields and no others; an optional one may be `""` or null.
fn object(table: &Table, field: fn(&str) -> (Value, &'static str)) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, presence) in table.fields {
        let (schema, description) = field(name);
        let schema = match presence {
            Presence::Required => {
                required.push(*name);
                schema
            }
            Presence::Optional => json!({ "anyOf": [schema, { "enum": ["", null] }] }),
            Presence::Text => json!({ "anyOf": [schema, { "type": "null" }] }),
        };
        properties.insert((*name).to_owned(), described(schema, description));
    }
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn described(schema: Value, description: &str) -> Value {
    let mut schema = match schema {
        // Beside a reference nothing else is understood by older tools.
        Value::Object(map) if map.contains_key("$ref") => {
            Map::from_iter([("allOf".to_owned(), json!([map]))])
        }
        Value::Object(map) => map,
        other => unreachable!("a schema is an object, not {other}"),
    };
    schema.insert("description".to_owned(), json!(description));
    Value::Object(schema)
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn list_of(items: &Value, most: usize) -> Value {
    json!({ "type": "array", "maxItems": most, "items": items })
}

fn addon(name: &str) -> (Value, &'static str) {
    // Blanks become hyphens, and the name as it was written the title.
    let blank_name =
        json!({ "type": "string", "pattern": "^[A-Za-z0-9]([A-Za-z0-9 ._-]{0,61}[A-Za-z0-9])?$" });
    let web = json!({ "type": "string", "pattern": "^[hH][tT][tT][pP][sS]?://" });
    let word = json!({ "type": "string", "minLength": 1, "maxLength": 30 });
    match name {
        "name" => (blank_name, "Unique in a marketplace, with case, `_` and `.` ignored."),
        "title" => (reference("text"), "What people see; default the name."),
        "version" => (semver(), "SemVer 2.0; absent: the marketplace gives one."),
        "description" => (json!({ "type": "string", "maxLength": 1000 }), "One paragraph."),
        "readme" => (json!({ "type": "string", "maxLength": 131_072 }), "Markdown."),
        "license" => (json!({ "type": "string", "maxLength": 1024 }), "An SPDX expression."),
        "homepage" => (web, "An http or https URL."),
        "source" => (web, "Where the source is: an http or https URL."),
        "icon" => (
            json!({ "type": "string", "maxLength": 32_768, "pattern": "^data:image/(png|webp);base64," }),
            "A PNG or WebP image as a data URL.",
        ),
        "keywords" => (list_of(&word, 20), "Words to search by."),
        "categories" => (list_of(&word, 5), "Where it belongs."),
        "changes" => (list_of(&object(&fields::CHANGE, change), 256), "What this version changed."),
        "services" => (
            json!({ "type": "array", "minItems": 1, "maxItems": MAX_THINGS, "items": reference("service") }),
            "The containers.",
        ),
        "volumes" => (list_of(&reference("volume"), MAX_THINGS), "Volumes that belong to the addon."),
        "networks" => (list_of(&reference("network"), MAX_THINGS), "Networks that belong to the addon."),
        "parameters" => (list_of(&reference("parameter"), MAX_THINGS), "What the operator may or must set."),
        "requires" => (object(&fields::REQUIRES, requires), "What the addon needs of its host."),
        other => unreachable!("{other} has no schema"),
    }
}

fn semver() -> Value {
    let number = "(0|[1-9][0-9]*)";
    let pre = "(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)";
    json!({
        "type": "string",
        "pattern": format!("^{number}\\.{number}\\.{number}(-{pre}(\\.{pre})*)?(\\+[0-9a-zA-Z-]+(\\.[0-9a-zA-Z-]+)*)?$")
    })
}

fn change(name: &str) -> (Value, &'static str) {
    match name {
        "kind" => {
            (json!({ "enum": ["added", "changed", "fixed", "removed", "security"] }), "What sort of change.")
        }
        "text" => (json!({ "type": "string", "minLength": 1, "maxLength": 8192 }), "What changed."),
        other => unreachable!("{other} has no schema"),
    }
}

fn requires(name: &str) -> (Value, &'static str) {
    match name {
        "platforms" => (list_of(&reference("platform"), MAX_THINGS), "The host is one of these."),
        "addons" => (
            list_of(&object(&fields::REQUIRED_ADDON, required_addon), MAX_THINGS),
            "Addons that are installed before this one.",
        ),
        other => unreachable!("{other} has no schema"),
    }
}

fn required_addon(name: &str) -> (Value, &'static str) {
    match name {
        "name" => (reference("addonName"), "The addon's name."),
        "version" => (reference("text"), "A range as Cargo writes them; default any version."),
        other => unreachable!("{other} has no schema"),
    }
}

fn driver() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}$" })
}

fn volume(name: &str) -> (Value, &'static str) {
    match name {
        "name" => (reference("objectName"), "Unique among the addon's volumes."),
        "driver" => (driver(), "Default `local`."),
        "driver_opts" => (reference("map"), "Handed to the driver."),
        "labels" => (reference("labels"), "Labels of the volume."),
        "external" => (json!({ "type": "boolean" }), "It exists already and is only used."),
        other => unreachable!("{other} has no schema"),
    }
}

fn network(name: &str) -> (Value, &'static str) {
    let mut driver = driver();
    driver["not"] = json!({ "enum": ["host", "none"] });
    match name {
        "name" => (reference("networkName"), "Unique among the addon's networks."),
        "driver" => (driver, "Default `bridge`."),
        "driver_opts" => (reference("map"), "Handed to the driver."),
        "enable_ipv6" => (
            json!({ "anyOf": [
                { "type": "boolean" },
                { "enum": [0, 1] },
                { "type": "string", "pattern": "^([tTfFyYnN01]|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|[yY][eE][sS]|[nN][oO])$" }
            ] }),
            "Default false.",
        ),
        "internal" => (json!({ "type": "boolean" }), "No way out of the host; default false."),
        "subnets" => (
            list_of(&json!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$" }), 16),
            "CIDR; needed by fixed addresses, else chosen by the host.",
        ),
        "labels" => (reference("labels"), "Labels of the network."),
        "external" => (json!({ "type": "boolean" }), "It exists already and is only used."),
        other => unreachable!("{other} has no schema"),
    }
}

fn parameter(name: &str) -> (Value, &'static str) {
    let bound = json!({ "type": ["number", "string"] });
    match name {
        "name" => (reference("parameterName"), "How the document refers to it: `${name}`."),
        "type" => (json!({ "enum": ParameterKind::NAMES }), "What values it takes."),
        "default" => (reference("scalar"), "The value when none is given; a secret has none."),
        "required" => (json!({ "type": "boolean" }), "An installation must give a value."),
        "min" => (bound, "Lowest value; of a text, its shortest length."),
        "max" => (bound, "Highest value; of a text, its longest length."),
        "pattern" => (reference("text"), "A regular expression against the whole value."),
        "values" => (
            json!({ "type": "array", "minItems": 1, "maxItems": 256, "items": { "type": "string" } }),
            "What may be chosen (enum).",
        ),
        "generate" => (object(&fields::GENERATE, generate), "A secret is made at random when none is given."),
        "description" => (reference("text"), "For people."),
        other => unreachable!("{other} has no schema"),
    }
}

fn generate(name: &str) -> (Value, &'static str) {
    match name {
        "length" => (json!({ "type": "integer", "minimum": 8, "maximum": 256 }), "Characters; default 32."),
        "alphabet" => (json!({ "type": "string", "minLength": 2 }), "Default letters and digits."),
        other => unreachable!("{other} has no schema"),
    }
}

/// The schema as text: indented, with a line feed at its end.
pub fn schema_text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).expect("a value is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_the_one_that_is_built() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/addon.schema.json");
        if std::env::var_os("UPDATE_EXPECTATIONS").is_some() {
            std::fs::write(path, schema_text()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            committed,
            schema_text(),
            "UPDATE_EXPECTATIONS=1 cargo test -p addon-descriptor writes it anew"
        );
    }
}
