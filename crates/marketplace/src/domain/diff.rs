//! What a release changes against the addon's last approved one: for whoever reviews it. Pure.

use std::collections::BTreeSet;

use addon_client::{DiffBase, FieldChange, ImageChange, ImageState, Pin, ReleaseDiff, RightView};
use addon_descriptor::Right;
use serde_json::{Map, Value};

use super::release::Release;

/// A release with its canonical document.
#[derive(Debug, Clone, Copy)]
pub struct Documented<'a> {
    /// The release.
    pub release: &'a Release,
    /// Its canonical document.
    pub document: &'a Value,
}

/// Compares a release with the one that was approved last; without one, everything is added.
pub fn diff(new: Documented<'_>, base: Option<Documented<'_>>) -> ReleaseDiff {
    let nothing = Value::Object(Map::new());
    let mut fields = Vec::new();
    let before = base.map_or(&nothing, |base| base.document);
    compare(String::new(), Some(before), Some(new.document), &mut fields);
    let (rights, old) = (rights(Some(new.release)), rights(base.map(|base| base.release)));
    let changes = new.document.get("changes").and_then(Value::as_array).cloned().unwrap_or_default();
    ReleaseDiff {
        release_id: new.release.id,
        digest: new.release.digest,
        base: base.map(|base| DiffBase {
            release_id: base.release.id,
            version: base.release.version.to_string(),
            digest: base.release.digest,
        }),
        fields,
        rights_added: rights.difference(&old).map(view).collect(),
        rights_removed: old.difference(&rights).map(view).collect(),
        images: images(base, new),
        changes,
    }
}

fn view(right: &Right) -> RightView {
    RightView { right: right.to_string(), level: right.level().into() }
}

fn rights(release: Option<&Release>) -> BTreeSet<Right> {
    let texts = release.into_iter().flat_map(|release| &release.rights);
    texts.filter_map(|text| serde_json::from_value(Value::String(text.clone())).ok()).collect()
}

/// Notes what differs at and below a place.
fn compare(path: String, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                compare(below(&path, name), old.get(name), new.get(name), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if named(old) && named(new) => {
            for (index, item) in new.iter().enumerate() {
                let same = old.iter().find(|other| name_of(other) == name_of(item));
                compare(below(&path, &index.to_string()), same, Some(item), changes);
            }
            for (index, item) in old.iter().enumerate() {
                if !new.iter().any(|other| name_of(other) == name_of(item)) {
                    compare(below(&path, &index.to_string()), Some(item), None, changes);
                }
            }
        }
        _ => changes.push(FieldChange { path, before: before.cloned(), after: after.cloned() }),
    }
}

/// RFC 6901: `~` and `/` of a name are written out.
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What a thing in a list is called: services, volumes, networks and parameters are compared by that, not by their place.
fn name_of(item: &Value) -> Option<&str> {
    ["service_name", "name"].into_iter().find_map(|field| item.get(field)?.as_str())
}

fn named(list: &[Value]) -> bool {
    let names: BTreeSet<Option<&str>> = list.iter().map(name_of).collect();
    names.len() == list.len() && !names.contains(&None)
}

fn images(base: Option<Documented<'_>>, new: Documented<'_>) -> Vec<ImageChange> {
    let (old, new) = (base.map(states).unwrap_or_default(), states(new));
    let mut changes = Vec::new();
    for (name, after) in &new {
        let before = old.iter().find(|(other, _)| other == name).map(|(_, state)| state);
        if before != Some(after) {
            let (before, after) = (before.cloned(), Some(after.clone()));
            changes.push(ImageChange { service_name: name.clone(), before, after });
        }
    }
    for (name, before) in old {
        if !new.iter().any(|(other, _)| *other == name) {
            changes.push(ImageChange { service_name: name, before: Some(before), after: None });
        }
    }
    changes
}

/// The image of each service, with what was found about it.
fn states(of: Documented<'_>) -> Vec<(String, ImageState)> {
    let services = of.document.get("services").and_then(Value::as_array).into_iter().flatten();
    let state = |service: &Value| {
        let name = service.get("service_name")?.as_str()?;
        let image = service.get("image")?.as_str()?.to_owned();
        let pin: Option<&Pin> = of.release.pins.iter().find(|pin| pin.service_name == name);
        let state = ImageState {
            image,
            digest: pin.map(|pin| pin.digest),
            bytes: pin.map(|pin| pin.bytes),
            platforms: pin.map(|pin| pin.platforms.clone()).unwrap_or_default(),
        };
        Some((name.to_owned(), state))
    };
    services.filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(before: &Value, after: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        let mut changes = Vec::new();
        compare(String::new(), Some(before), Some(after), &mut changes);
        changes.into_iter().map(|change| (change.path, change.before, change.after)).collect()
    }

    #[test]
    fn equal_documents_have_no_difference() {
        let document = json!({"name": "a", "services": [{"service_name": "x", "image": "i"}]});
        assert_eq!(fields(&document, &document), []);
    }

    #[test]
    fn fields_are_named_by_pointer() {
        let before = json!({"name": "a", "labels": {"a/b": "1", "c~d": "2"}, "description": "old"});
        let after = json!({"name": "a", "labels": {"a/b": "2"}, "title": "new"});
        assert_eq!(
            fields(&before, &after),
            [
                ("/description".to_owned(), Some(json!("old")), None),
                ("/labels/a~1b".to_owned(), Some(json!("1")), Some(json!("2"))),
                ("/labels/c~0d".to_owned(), Some(json!("2")), None),
                ("/title".to_owned(), None, Some(json!("new"))),
            ]
        );
    }

    #[test]
    fn services_are_compared_by_name_wherever_they_stand() {
        let service = |name: &str, image: &str| json!({"service_name": name, "image": image});
        let before = json!({"services": [service("a", "1"), service("b", "1"), service("gone", "1")]});
        let after = json!({"services": [service("new", "1"), service("b", "2"), service("a", "1")]});
        assert_eq!(
            fields(&before, &after),
            [
                ("/services/0".to_owned(), None, Some(service("new", "1"))),
                ("/services/1/image".to_owned(), Some(json!("1")), Some(json!("2"))),
                ("/services/2".to_owned(), Some(service("gone", "1")), None),
            ]
        );
    }

    #[test]
    fn lists_without_names_differ_as_a_whole() {
        let (before, after) = (json!({"command": ["a", "b"]}), json!({"command": ["a"]}));
        let expected = [("/command".to_owned(), Some(json!(["a", "b"])), Some(json!(["a"])))];
        assert_eq!(fields(&before, &after), expected);
    }
}
