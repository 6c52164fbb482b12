//! The OpenAPI document: what the handlers say of themselves, held to the route table, with what follows from the table
//! (security, aliases, the answers that every call can give) added. Made once, when it is asked for.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::auth::{Access, Scope};
use crate::routes::{PathEntry, RouteTable};

/// What the calls that both services have say of themselves.
#[derive(OpenApi)]
#[openapi(
    paths(
        crate::auth::api::list,
        crate::auth::api::create,
        crate::auth::api::revoke,
        crate::health::healthz,
        crate::health::readyz,
        crate::health::show_metrics,
    ),
    components(schemas(addon_client::Problem)),
    tags(
        (name = "tokens", description = "Who may do what"),
        (name = "health", description = "How the service is"),
    )
)]
pub(crate) struct KitDoc;

/// What the document begins with.
pub(crate) struct Intro<'a> {
    pub(crate) title: &'a str,
    pub(crate) purpose: &'a str,
    /// What tokens of this service can allow.
    pub(crate) scopes: &'a [Scope],
}

impl Intro<'_> {
    /// In Markdown.
    fn text(&self) -> String {
        let meaning = |scope: &Scope| format!("- `{scope}`: may {}\n", scope.meaning());
        let scopes: String = self.scopes.iter().map(meaning).collect();
        format!(
            "{purpose}\n\n\
             **Tokens.** Calls with a lock need `Authorization: Bearer <token>` (the button *Authorize*). The first start wrote the \
             administrator's token into the state folder, as `admin-token`; a 401 names the file. `POST /api/v1/tokens` makes more, \
             for these scopes; each of them includes `read`, and `admin` all others:\n\n{scopes}\n\
             **Problems.** Every 4xx and 5xx is one document, `application/problem+json` (RFC 9457), whose `code` is stable, whose \
             `detail` says what to change, and whose `errors` has every fault with its place:\n\n\
             ```json\n{problem}\n```\n\n\
             A trailing slash makes no difference. Every answer has an `X-Request-Id`, which stands in the service's log too.",
            purpose = self.purpose,
            problem = PROBLEM_EXAMPLE,
        )
    }
}

/// A problem document, as an example; written so that people can read it.
const PROBLEM_EXAMPLE: &str = r#"{
  "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "code": "bad-token",
  "detail": "the token cannot be made as asked",
  "errors": [{"path": "/scopes/0", "rule": "unknown-scope", "message": "this service knows no scope \"red\"", "suggestion": "read"}]
}"#;

/// Heading of other names of calls in the document.
const ALIASES: &str = "other names";

/// The document as text, indented by two; or every difference between it and the table.
pub(crate) fn document(
    intro: &Intro<'_>,
    service: utoipa::openapi::OpenApi,
    table: &RouteTable,
) -> Result<String, Vec<String>> {
    let merged = service.merge_from(KitDoc::openapi());
    let mut document = serde_json::to_value(&merged).expect("an OpenAPI document is JSON");
    let faults = differences(&document, table);
    if !faults.is_empty() {
        return Err(faults);
    }
    document["info"] = json!({
        "title": intro.title,
        // Every crate of the workspace has the one version.
        "version": env!("CARGO_PKG_VERSION"),
        "description": intro.text(),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    });
    document["components"]["securitySchemes"] = json!({
        "token": {"type": "http", "scheme": "bearer",
            "description": "The administrator's token is in a file where the service runs; a 401 says in which."},
    });
    let example: Value = serde_json::from_str(PROBLEM_EXAMPLE).expect("the example is JSON");
    document["components"]["responses"]["Problem"] = json!({
        "description": "A problem",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    });
    if let Some(tags) = document["tags"].as_array_mut()
        && table.paths.iter().any(|entry| !entry.hidden && entry.alias_of.is_some())
    {
        let text = "Paths of older clients, such as Oakestra's dashboard, for calls that stand above";
        tags.push(json!({"name": ALIASES, "description": text}));
    }
    let Value::Object(paths) = &mut document["paths"] else {
        return Err(vec!["there are no paths".to_owned()]);
    };
    for entry in table.paths.iter().filter(|entry| !entry.hidden && entry.alias_of.is_none()) {
        if let Some(Value::Object(item)) = paths.get_mut(&entry.path) {
            complete(item, entry);
        }
    }
    for entry in table.paths.iter().filter(|entry| !entry.hidden) {
        let Some(of) = &entry.alias_of else { continue };
        let Some(mut item) = paths.get(of).cloned() else { continue };
        for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
            if let Some(operation) = operation.as_object_mut() {
                let id = operation.get("operationId").and_then(Value::as_str).unwrap_or_default();
                let id = format!("{id}{}", entry.path.replace(['/', '{', '}'], "_"));
                operation.insert("operationId".to_owned(), id.into());
                operation.insert("deprecated".to_owned(), true.into());
                operation.insert("tags".to_owned(), json!([ALIASES]));
                operation.insert("description".to_owned(), format!("Another name of {of}.").into());
            }
        }
        // Only what the alias answers: it may have been made of fewer methods.
        if let Some(item) = item.as_object_mut() {
            item.retain(|key, _| {
                !METHODS.contains(&key.as_str())
                    || entry.calls.iter().any(|call| call.method.as_str().eq_ignore_ascii_case(key))
            });
        }
        paths.insert(entry.path.clone(), item);
    }
    Ok(serde_json::to_string_pretty(&document).expect("it is JSON"))
}

/// The media type of problem documents.
const PROBLEM: &str = "application/problem+json";

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Adds what follows from the table to the operations of a path.
fn complete(item: &mut Map<String, Value>, entry: &PathEntry) {
    for call in &entry.calls {
        let Some(operation) = item.get_mut(&call.method.as_str().to_lowercase()) else { continue };
        let security = match call.access {
            Access::Probe | Access::Public => json!([]),
            // Needed or not, by configuration.
            Access::PublicRead => json!([{}, {"token": []}]),
            Access::Scope(_) => json!([{"token": []}]),
        };
        operation["security"] = security;
        if let Access::Scope(scope) = call.access {
            let text = operation.get("description").and_then(Value::as_str).unwrap_or_default();
            operation["description"] = format!("{text}\n\nScope: `{scope}`.").trim_start().into();
        }
        let mut follows = vec!["421 a `Host` that it is not called by"];
        match call.access {
            Access::Probe => follows.clear(),
            Access::Public => (),
            Access::PublicRead => {
                follows.push("401 a token that is not valid, or none where `auth.public_read` is off");
            }
            Access::Scope(_) => {
                follows.push("401 no valid token");
                follows.push("403 a token without the scope, or for other names");
            }
        }
        if operation.get("requestBody").is_some() {
            follows.push("400 a body that cannot be read");
            follows.push("408 one that did not arrive in time");
            follows.push("413 one longer than `server.body_limit_bytes`");
            follows.push("415 one that is not sent as JSON");
        }
        let mut follows: Vec<&str> =
            follows.into_iter().filter(|text| operation["responses"].get(&text[..3]).is_none()).collect();
        follows.sort_unstable();
        follows.push("5xx what the service cannot help");
        let description = format!("A problem: {}", follows.join("; "));
        // Problems are of one media type, wherever they stand.
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            if status.starts_with(['4', '5'])
                && let Some(content) = response["content"].as_object_mut()
                && let Some(body) = content.remove("application/json")
            {
                let is_problem = body["schema"]["$ref"] == "#/components/schemas/Problem";
                content.insert(if is_problem { PROBLEM } else { "application/json" }.to_owned(), body);
            }
        }
        // What follows from the table is the same at every call: said once, as one answer.
        operation["responses"]["default"] =
            json!({"$ref": "#/components/responses/Problem", "description": description});
    }
}

/// The calls that only the document has, and those that only the table has.
fn differences(document: &Value, table: &RouteTable) -> Vec<String> {
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let mut answered = BTreeSet::new();
    for entry in table.paths.iter().filter(|entry| !entry.hidden && entry.alias_of.is_none()) {
        answered.extend(entry.calls.iter().map(|call| format!("{} {}", call.method, entry.path)));
    }
    let only_described =
        described.difference(&answered).map(|call| format!("{call} is described and not answered"));
    let only_answered =
        answered.difference(&described).map(|call| format!("{call} is answered and not described"));
    let mut seen = BTreeSet::new();
    let operations =
        document["paths"].as_object().into_iter().flatten().flat_map(|(_, item)| item.as_object());
    let ids = operations.flatten().filter_map(|(_, operation)| operation["operationId"].as_str());
    let repeated: Vec<&str> = ids.filter(|id| !seen.insert(*id)).collect();
    let repeated =
        repeated.into_iter().map(|id| format!("the operationId {id} stands twice; give one of them another"));
    only_described.chain(only_answered).chain(repeated).collect()
}

/// What a document does not say and its readers need: a summary, what a parameter or an answer means, that a refusal is a problem document, a
/// success, a 404 where an id can be wrong. Services' tests hold their documents to it.
pub fn gaps(document: &Value) -> Vec<String> {
    let empty = |value: &Value| value.as_str().unwrap_or_default().trim().is_empty();
    let mut gaps = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let mut gap = |what: &str| gaps.push(format!("{method} {path}: {what}"));
            if empty(&operation["summary"]) {
                gap("no summary");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if empty(&parameter["description"]) {
                    gap(&format!("nothing about {}", parameter["name"]));
                }
            }
            let answers: Vec<(&String, &Value)> =
                operation["responses"].as_object().into_iter().flatten().collect();
            for (status, answer) in &answers {
                if empty(&answer["description"]) {
                    gap(&format!("nothing about {status}"));
                }
                if status.starts_with('4') && !answer["content"]["application/problem+json"].is_object() {
                    gap(&format!("{status} is no problem document"));
                }
            }
            if path.contains('{') && answers.iter().all(|(status, _)| *status != "404") {
                gap("no 404");
            }
            if answers.iter().all(|(status, _)| !status.starts_with(['2', '3'])) {
                gap("no answer that is a success");
            }
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_miss_is_told() {
        let good = json!({"summary": "Read it", "parameters": [{"name": "id", "description": "Which"}], "responses": {
            "200": {"description": "It"},
            "404": {"description": "None", "content": {"application/problem+json": {}}}}});
        let bad = json!({"parameters": [{"name": "id"}], "responses": {"409": {"description": " "}}});
        let document = json!({"paths": {"/good/{id}": {"get": good}, "/bad/{id}": {"put": bad}}});
        let expected = [
            "no summary",
            "nothing about \"id\"",
            "nothing about 409",
            "409 is no problem document",
            "no 404",
            "no answer that is a success",
        ];
        assert_eq!(gaps(&document), expected.map(|gap| format!("put /bad/{{id}}: {gap}")));
    }
}
