//! The route table: one value a service, readable as the list of what the service does.
//!
//! An entry is a method, a path, what it asks of a caller, and a handler; there is none without the third. From the table
//! follow the registration, the authorisation, `HEAD` from `GET`, `OPTIONS`, 405 with `Allow`, and the check that the
//! OpenAPI document names the same calls.
//!
//! ```ignore
//! RouteTable::new()
//!     .get("/api/v1/marketplace/addons", Access::PublicRead, addons::list)
//!     .post("/api/v1/marketplace/addons", Scope::Publish, addons::publish)
//!     .alias("/api/addons", "/api/v1/marketplace/addons")
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{FromRequest, Handler, Responder, Route, web};

use crate::auth::Access;

/// Makes an actix route with a handler; called once a worker.
type MakeRoute = Arc<dyn Fn() -> Route + Send + Sync>;

/// What a service does, call by call.
#[derive(Clone, Default)]
pub struct RouteTable {
    pub(crate) paths: Vec<PathEntry>,
    faults: Vec<String>,
}

/// A path and what can be done with it.
#[derive(Clone)]
pub(crate) struct PathEntry {
    /// As in OpenAPI and as actix reads it: `/api/v1/addons/{id}`.
    pub(crate) path: String,
    /// The path that this one is another name of.
    pub(crate) alias_of: Option<String>,
    /// Not in the OpenAPI document: pages and their assets.
    pub(crate) hidden: bool,
    pub(crate) calls: Vec<Call>,
}

/// What a method does at a path.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) access: Access,
    pub(crate) make: MakeRoute,
}

impl RouteTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// `GET`, and with it `HEAD`.
    #[must_use]
    pub fn get<H, A>(self, path: &str, access: impl Into<Access>, handler: H) -> Self
    where
        H: Handler<A> + Send + Sync,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        self.call(Method::GET, path, access, handler)
    }

    /// `POST`.
    #[must_use]
    pub fn post<H, A>(self, path: &str, access: impl Into<Access>, handler: H) -> Self
    where
        H: Handler<A> + Send + Sync,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        self.call(Method::POST, path, access, handler)
    }

    /// `PUT`.
    #[must_use]
    pub fn put<H, A>(self, path: &str, access: impl Into<Access>, handler: H) -> Self
    where
        H: Handler<A> + Send + Sync,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        self.call(Method::PUT, path, access, handler)
    }

    /// `PATCH`.
    #[must_use]
    pub fn patch<H, A>(self, path: &str, access: impl Into<Access>, handler: H) -> Self
    where
        H: Handler<A> + Send + Sync,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        self.call(Method::PATCH, path, access, handler)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete<H, A>(self, path: &str, access: impl Into<Access>, handler: H) -> Self
    where
        H: Handler<A> + Send + Sync,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        self.call(Method::DELETE, path, access, handler)
    }

    /// Another name of everything that stands so far at the path `of`. The OpenAPI document has it as deprecated.
    #[must_use]
    pub fn alias(mut self, path: &str, of: &str) -> Self {
        match self.paths.iter().find(|entry| entry.path == of) {
            Some(entry) => {
                let calls = entry.calls.clone();
                let alias_of = Some(of.to_owned());
                let (path, hidden) = (path.to_owned(), entry.hidden);
                self.paths.push(PathEntry { path, alias_of, hidden, calls });
            }
            None => self.faults.push(format!("{path} is to be an alias of {of}, which is not in the table")),
        }
        self
    }

    /// This table and another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.faults.extend(other.faults);
        for entry in other.paths {
            match self.paths.iter_mut().find(|own| own.path == entry.path) {
                Some(own) => own.calls.extend(entry.calls),
                None => self.paths.push(entry),
            }
        }
        self
    }

    /// Leaves what stands at a path out of the OpenAPI document: pages and their assets.
    #[must_use]
    pub fn hidden(mut self, path: &str) -> Self {
        for entry in self.paths.iter_mut().filter(|entry| entry.path == path) {
            entry.hidden = true;
        }
        self
    }

    /// Every method, path and what it asks of a caller, in the order of the table; aliases too.
    pub fn calls(&self) -> impl Iterator<Item = (&Method, &str, Access)> {
        self.paths
            .iter()
            .flat_map(|entry| entry.calls.iter().map(|call| (&call.method, entry.path.as_str(), call.access)))
    }

    /// The value of `Allow` for the service as a whole: every method that does something somewhere.
    pub(crate) fn allow(&self) -> String {
        allow(self.paths.iter().flat_map(|entry| &entry.calls))
    }

    /// What is wrong with the table; a service with such a table does not start.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (index, entry) in self.paths.iter().enumerate() {
            let path = &entry.path;
            if !path.starts_with('/') || path.contains("//") || (path.len() > 1 && path.ends_with('/')) {
                faults.push(format!(
                    "{path} does not have the form of a path: /a/{{b}}, without a slash at the end"
                ));
            }
            let same = |other: &&PathEntry| shape(&other.path) == shape(path);
            if let Some(other) = self.paths[..index].iter().find(same) {
                faults.push(format!("{path} and {} are the same path", other.path));
            }
            for (index, call) in entry.calls.iter().enumerate() {
                if entry.calls[..index].iter().any(|other| other.method == call.method) {
                    faults.push(format!("{} {path} stands in the table twice", call.method));
                }
            }
        }
        faults
    }

    /// The paths in the order in which they are tried: what is spelled out before what stands for anything.
    pub(crate) fn in_order(&self) -> Vec<&PathEntry> {
        let mut paths: Vec<&PathEntry> = self.paths.iter().collect();
        let rank =
            |entry: &PathEntry| entry.path.split('/').map(|part| part.starts_with('{')).collect::<Vec<_>>();
        paths.sort_by_cached_key(|entry| rank(entry));
        paths
    }

    fn call<H, A>(mut self, method: Method, path: &str, access: impl Into<Access>, handler: H) -> Self
    where
        H: Handler<A> + Send + Sync,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        let make: MakeRoute = Arc::new(move || web::route().to(handler.clone()));
        let call = Call { method, access: access.into(), make };
        match self.paths.iter_mut().find(|entry| entry.path == path) {
            Some(entry) => entry.calls.push(call),
            None => self.paths.push(PathEntry {
                path: path.to_owned(),
                alias_of: None,
                hidden: false,
                calls: vec![call],
            }),
        }
        self
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.calls()).finish()
    }
}

impl PathEntry {
    /// What the method needs; `HEAD` what `GET` needs. `None` where the method is not allowed here.
    pub(crate) fn access(&self, method: &Method) -> Option<Access> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.calls.iter().find(|call| call.method == method).map(|call| call.access)
    }

    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        allow(&self.calls)
    }

    /// Whether it is there for probes.
    pub(crate) fn is_probe(&self) -> bool {
        self.calls.iter().any(|call| call.access == Access::Probe)
    }
}

/// The value of `Allow` where these calls are answered.
fn allow<'a>(calls: impl IntoIterator<Item = &'a Call>) -> String {
    let mut methods: BTreeSet<&str> = calls.into_iter().map(|call| call.method.as_str()).collect();
    if methods.contains("GET") {
        methods.insert("HEAD");
    }
    methods.insert("OPTIONS");
    methods.into_iter().collect::<Vec<_>>().join(", ")
}

/// A path in which every parameter has the same name.
fn shape(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scope;

    async fn nothing() -> &'static str {
        ""
    }

    #[test]
    fn a_table_reads_as_the_list_of_what_a_service_does() {
        let table = RouteTable::new()
            .get("/things", Access::PublicRead, nothing)
            .post("/things", Scope::Publish, nothing)
            .delete("/things/{id}", Scope::Admin, nothing)
            .alias("/old/things", "/things");
        let calls: Vec<String> =
            table.calls().map(|(method, path, access)| format!("{method} {path} {access:?}")).collect();
        assert_eq!(
            calls,
            [
                "GET /things PublicRead",
                "POST /things Scope(Publish)",
                "DELETE /things/{id} Scope(Admin)",
                "GET /old/things PublicRead",
                "POST /old/things Scope(Publish)",
            ]
        );
        assert_eq!(table.faults(), Vec::<String>::new());
        assert_eq!(table.paths[0].allow(), "GET, HEAD, OPTIONS, POST");
        assert_eq!(table.paths[1].allow(), "DELETE, OPTIONS");
        assert_eq!(table.allow(), "DELETE, GET, HEAD, OPTIONS, POST");
        assert_eq!(table.paths[0].access(&Method::HEAD), Some(Access::PublicRead));
        assert_eq!(table.paths[1].access(&Method::HEAD), None);
    }

    #[test]
    fn what_is_spelled_out_is_tried_first() {
        let table = RouteTable::new()
            .get("/a/{id}", Scope::Read, nothing)
            .get("/{any}/b", Scope::Read, nothing)
            .get("/a/install", Scope::Read, nothing);
        let order: Vec<&str> = table.in_order().iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(order, ["/a/install", "/a/{id}", "/{any}/b"]);
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let twice = RouteTable::new().get("/a", Scope::Read, nothing).get("/a", Scope::Admin, nothing);
        assert_eq!(twice.faults(), ["GET /a stands in the table twice"]);
        let same = RouteTable::new().get("/a/{x}", Scope::Read, nothing).get("/a/{y}", Scope::Admin, nothing);
        assert_eq!(same.faults(), ["/a/{y} and /a/{x} are the same path"]);
        let alias = RouteTable::new().alias("/a", "/b");
        assert_eq!(alias.faults(), ["/a is to be an alias of /b, which is not in the table"]);
        let slash = RouteTable::new().get("/a/", Scope::Read, nothing);
        assert_eq!(slash.faults().len(), 1);
    }
}
