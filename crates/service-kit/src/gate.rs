//! What stands around every call: who asks, whether they may, and what every answer carries.
//!
//! [`Paths`] stands around the whole application and brings paths to one form. [`Gate`] stands around each path of the
//! route table, and around the answer for all others, so that it knows what the call asks of its caller: request id,
//! identity, `Host`, origin, scope; then the handler; then problem document, headers, counts and log line. Nothing is
//! reached but through a gate. The usual case takes one allocation and asks no database.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{Method, StatusCode, Uri, Version};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse};
use tracing::Instrument;

use crate::auth::{Access, Auth, Identity, Principal, Scope, TokenHash, missing_scope};
use crate::guard::{self, Hosts, Origins};
use crate::metrics::CallStats;
use crate::path::{self, Form};
use crate::problem::{self, Problem};
use crate::request_id::{RequestId, X_REQUEST_ID};
use crate::routes::{PathEntry, RouteTable};

type Answer = Result<ServiceResponse<BoxBody>, Error>;
type AnswerFuture = Pin<Box<dyn Future<Output = Answer>>>;

/// What all gates of a service share.
pub(crate) struct Policy {
    pub(crate) auth: Auth,
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
}

/// What is known about a request; handlers take its parts as arguments.
struct Known {
    principal: Principal,
    request_id: RequestId,
}

/// A path as its gate sees it: what it asks, and what is counted of it.
pub(crate) struct Guarded {
    /// `None`: all paths that are not in the table.
    entry: Option<PathEntry>,
    allow: HeaderValue,
    stats: Vec<(Method, CallStats)>,
    /// Methods that are not in the table.
    other: CallStats,
}

impl Guarded {
    pub(crate) fn new(entry: &PathEntry) -> Self {
        let mut methods: Vec<Method> = entry.calls.iter().map(|call| call.method.clone()).collect();
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        methods.push(Method::OPTIONS);
        let stats = methods.into_iter().map(|method| {
            let stats = CallStats::new(method_name(&method), &entry.path);
            (method, stats)
        });
        let stats = stats.collect();
        let allow = HeaderValue::from_str(&entry.allow()).expect("method names are a header value");
        Self { entry: Some(entry.clone()), allow, stats, other: CallStats::new("other", &entry.path) }
    }

    /// What is around the answer for paths that are not in the table, and for the service as a whole.
    pub(crate) fn unmatched(table: &RouteTable) -> Self {
        let allow = HeaderValue::from_str(&table.allow()).expect("method names are a header value");
        Self { entry: None, allow, stats: Vec::new(), other: CallStats::new("other", "unmatched") }
    }

    pub(crate) fn stats(&self) -> impl Iterator<Item = &CallStats> + Clone {
        self.stats.iter().map(|(_, stats)| stats).chain([&self.other])
    }

    fn stats_of(&self, method: &Method) -> &CallStats {
        self.stats.iter().find(|(known, _)| known == method).map_or(&self.other, |(_, stats)| stats)
    }
}

/// Methods as labels: a foreign one is not to make a label of its own.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The middleware around one path.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) policy: Arc<Policy>,
    pub(crate) guarded: Arc<Guarded>,
}

impl<S> Transform<S, ServiceRequest> for Gate
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = GateService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(GateService { inner: Rc::new(inner), gate: self.clone() }))
    }
}

/// A path with its gate.
pub(crate) struct GateService<S> {
    inner: Rc<S>,
    gate: Gate,
}

impl<S> Service<ServiceRequest> for GateService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = AnswerFuture;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> AnswerFuture {
        let is_change = is_change(request.method());
        let answer = self.answer(request);
        if is_change { to_its_end(answer) } else { answer }
    }
}

/// A change goes on when its caller hangs up: what comes after its commit (caches, wakes, logs) belongs to it.
fn to_its_end(answer: AnswerFuture) -> AnswerFuture {
    let task = actix_web::rt::spawn(answer);
    Box::pin(async move {
        task.await.unwrap_or_else(|fault| {
            let problem = Problem::internal(
                anyhow::anyhow!(fault).context("a request's handler ended without an answer"),
            );
            log_problem(&problem, &RequestId::of(None));
            Err(problem.into())
        })
    })
}

impl<S> GateService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    S::Future: 'static,
{
    fn answer(&self, request: ServiceRequest) -> AnswerFuture {
        let begun = Instant::now();
        let request_id = RequestId::of(request.headers().get(X_REQUEST_ID));
        let gate = self.gate.clone();
        match gate.identify(&request) {
            Ok(identity) => match gate.judge(&request, gate.bounded(&request, identity)) {
                Verdict::Pass(principal) => {
                    let account = gate.accept(&request, principal, &request_id);
                    let answer = self.inner.call(request);
                    if let Some(span) = account {
                        Box::pin(
                            async move { Ok(gate.finish(answer.await?, &request_id, begun)) }
                                .instrument(span),
                        )
                    } else {
                        Box::pin(async move { Ok(gate.finish(answer.await?, &request_id, begun)) })
                    }
                }
                Verdict::Answer(answer) => {
                    let answer = gate.finish(answered(request, answer), &request_id, begun);
                    Box::pin(ready(Ok(answer)))
                }
            },
            Err(hash) => {
                let inner = Rc::clone(&self.inner);
                Box::pin(async move {
                    let identity = gate.bounded(&request, gate.policy.auth.look_up(hash).await);
                    match gate.judge(&request, identity) {
                        Verdict::Pass(principal) => {
                            let span = gate.accept(&request, principal, &request_id);
                            let answer =
                                inner.call(request).instrument(span.unwrap_or_else(tracing::Span::none));
                            Ok(gate.finish(answer.await?, &request_id, begun))
                        }
                        Verdict::Answer(answer) => {
                            Ok(gate.finish(answered(request, answer), &request_id, begun))
                        }
                    }
                })
            }
        }
    }
}

/// What the gate says to a request.
enum Verdict {
    Pass(Principal),
    Answer(HttpResponse),
}

impl From<Problem> for Verdict {
    fn from(problem: Problem) -> Self {
        Self::Answer(HttpResponse::from_error(problem))
    }
}

impl Gate {
    /// Who asks, unless the database must be asked for that.
    fn identify(&self, request: &ServiceRequest) -> Result<Identity, TokenHash> {
        let auth = &self.policy.auth;
        match request.headers().get(header::AUTHORIZATION) {
            None => Ok(Identity::Without(auth.without())),
            Some(header) => auth.recall(header.to_str().unwrap_or_default()),
        }
    }

    /// Who asks, with a bound on how often an address may show what is no good token.
    fn bounded(&self, request: &ServiceRequest, identity: Identity) -> Identity {
        self.policy.auth.bounded(identity, request.peer_addr().map(|peer| peer.ip()))
    }

    /// Whether they may: `Host`, then origin, then scope.
    fn judge(&self, request: &ServiceRequest, identity: Identity) -> Verdict {
        let method = request.method();
        let access = match &self.guarded.entry {
            Some(entry) => entry.access(method),
            None => Some(Access::Public),
        };
        let host = match host(request) {
            Ok(host) => host,
            Err(problem) => return problem.into(),
        };
        // A probe's path is one for every method: what it allows may be asked by any name too.
        let is_probe = self.guarded.entry.as_ref().is_some_and(PathEntry::is_probe);
        let is_known = matches!(identity, Identity::With(_)) || is_probe;
        if !is_known
            && let Some(host) = [host, request.uri().authority().map(|authority| authority.as_str())]
                .into_iter()
                .flatten()
                .find(|host| !self.policy.hosts.allow(host))
        {
            return Hosts::refusal(host).into();
        }
        let Some(access) = access else { return self.no_such_call(request) };
        if let Err(problem) = self.policy.origins.check(method, request.headers(), host.unwrap_or_default()) {
            return problem.into();
        }
        self.authorise(access, identity)
    }

    fn authorise(&self, access: Access, identity: Identity) -> Verdict {
        let auth = &self.policy.auth;
        let scope = match access {
            Access::Probe | Access::Public => None,
            Access::PublicRead => (!auth.public_read()).then_some(Scope::Read),
            Access::Scope(scope) => Some(scope),
        };
        match (identity, scope) {
            // A token that is not good is no reason to refuse what needs none.
            (Identity::Refused(_), None) => Verdict::Pass(Principal::nobody()),
            (Identity::Refused(problem), Some(_)) => problem.into(),
            // What is answered may depend on whose it is, but for a probe.
            (Identity::Unknown(_), None) if matches!(access, Access::Probe) => {
                Verdict::Pass(Principal::nobody())
            }
            (Identity::Unknown(problem), _) => problem.into(),
            (Identity::With(principal) | Identity::Without(principal), None) => Verdict::Pass(principal),
            (Identity::With(principal) | Identity::Without(principal), Some(scope)) => {
                if principal.allows(scope) {
                    Verdict::Pass(principal)
                } else if principal.account().is_none() {
                    auth.unauthorized("this needs a token").into()
                } else {
                    missing_scope(principal.account(), scope).into()
                }
            }
        }
    }

    /// `OPTIONS`, and every method that is not in the table.
    fn no_such_call(&self, request: &ServiceRequest) -> Verdict {
        let allow = self.guarded.allow.clone();
        if request.method() == Method::OPTIONS {
            let mut answer = HttpResponse::Ok().insert_header((header::ALLOW, allow)).finish();
            if is_api(request.path()) {
                self.policy.origins.allow_preflight_in(request.headers(), answer.headers_mut());
            }
            return Verdict::Answer(answer);
        }
        let detail = format!("this path allows {}", self.guarded.allow.to_str().unwrap_or_default());
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        problem.with_header(header::ALLOW, allow).into()
    }

    /// Notes what handlers may ask about. A span for those that change something: their log lines are to say on whose
    /// behalf.
    fn accept(
        &self,
        request: &ServiceRequest,
        principal: Principal,
        request_id: &RequestId,
    ) -> Option<tracing::Span> {
        let span = is_change(request.method()).then(|| {
            tracing::info_span!("request", request.id = request_id.as_str(), account = principal.account())
        });
        request.extensions_mut().insert(Known { principal, request_id: request_id.clone() });
        span
    }

    /// Brings an answer to its final form, counts it and logs it.
    fn finish(
        &self,
        mut answer: ServiceResponse<BoxBody>,
        id: &RequestId,
        begun: Instant,
    ) -> ServiceResponse<BoxBody> {
        if let Some(error) = answer.response().error() {
            let problem = match error.as_error::<Problem>() {
                Some(problem) => {
                    log_problem(problem, id);
                    problem.response(Some(id.as_str()))
                }
                None => {
                    let status = answer.status();
                    if status.is_server_error() {
                        tracing::error!(request.id = id.as_str(), error = %error, "a request failed");
                    }
                    problem::of_status(status).response(Some(id.as_str()))
                }
            };
            answer = ServiceResponse::new(answer.into_parts().0, problem);
        }
        // Nothing waits for the end of a stream of which only the head was asked for.
        if answer.request().method() == Method::HEAD && answer.response().body().size() == BodySize::Stream {
            answer = answer.map_body(|_, _| BoxBody::new(body::None::new()));
        }
        self.add_headers(&mut answer, id);
        let request = answer.request();
        let (status, duration) = (answer.status(), begun.elapsed());
        self.guarded.stats_of(request.method()).record(status.as_u16(), duration);
        log_access(request, status, duration, id);
        answer
    }

    fn add_headers(&self, answer: &mut ServiceResponse<BoxBody>, id: &RequestId) {
        let api = is_api(answer.request().path());
        let request = answer.request().clone();
        let headers = answer.headers_mut();
        headers.insert(X_REQUEST_ID, id.header().clone());
        guard::add_security_headers(headers);
        if api {
            self.policy.origins.allow_in(request.headers(), headers);
        }
    }
}

/// An answer that is given here. What the framework has for this forgets the problem that the answer was made from.
fn answered(request: ServiceRequest, answer: HttpResponse) -> ServiceResponse<BoxBody> {
    ServiceResponse::new(request.into_parts().0, answer)
}

/// The one `Host` of a request. HTTP/1.0 needs none.
fn host(request: &ServiceRequest) -> Result<Option<&str>, Problem> {
    let mut hosts = request.headers().get_all(header::HOST);
    match (hosts.next().map(HeaderValue::to_str), hosts.next()) {
        (Some(Ok(host)), None) => Ok(Some(host)),
        (None, None) if request.version() < Version::HTTP_11 || request.uri().authority().is_some() => {
            Ok(None)
        }
        _ => Err(Problem::bad_request("bad-host", "a request has one Host header, in ASCII")),
    }
}

fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

fn is_change(method: &Method) -> bool {
    !(*method == Method::GET || *method == Method::HEAD || *method == Method::OPTIONS)
}

/// Logs what a 5xx does not show, once, with its whole chain.
fn log_problem(problem: &Problem, id: &RequestId) {
    let (code, status) = (problem.code(), problem.status());
    let cause = problem.source().map(|source| format!("{source:#}"));
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request.id = id.as_str(), code, error = cause, "a request failed");
    } else if status.is_server_error() {
        tracing::warn!(request.id = id.as_str(), code, error = cause, "a request could not be answered");
    } else if let Some(cause) = cause {
        tracing::debug!(request.id = id.as_str(), code, error = cause, "a request was refused");
    }
}

/// One line a request: changes for everyone, reads for those who look closely. Never a query: it may hold a secret.
fn log_access(request: &HttpRequest, status: StatusCode, duration: std::time::Duration, id: &RequestId) {
    macro_rules! line {
        ($level:ident) => {{
            let known = request.extensions();
            let account = known.get::<Known>().and_then(|known| known.principal.account());
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a request takes less than 500 million years"
            )]
            let duration_ms = duration.as_micros() as u64 as f64 / 1000.0;
            tracing::$level!(
                request.id = id.as_str(),
                http.method = request.method().as_str(),
                http.path = request.path(),
                http.status = status.as_u16(),
                duration_ms,
                account,
                "answered"
            );
        }};
    }
    if is_change(request.method()) || status.is_server_error() {
        line!(info);
    } else if tracing::enabled!(tracing::Level::DEBUG) {
        line!(debug);
    }
}

impl FromRequest for Principal {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    /// Who asks; on every route, nobody where it needs no token and none was shown.
    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let known = request.extensions().get::<Known>().map(|known| known.principal.clone());
        ready(Ok(known.unwrap_or_else(Self::nobody)))
    }
}

impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    /// The request's id, to hand on to other services.
    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let known = request.extensions().get::<Known>().map(|known| known.request_id.clone());
        ready(Ok(known.unwrap_or_else(|| Self::of(None))))
    }
}

/// The middleware around the application: brings paths to one form before they are routed.
#[derive(Clone)]
pub(crate) struct Paths {
    /// For the answers that are given here: the gate of what is in no table.
    pub(crate) gate: Gate,
}

impl<S> Transform<S, ServiceRequest> for Paths
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = PathsService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(PathsService { inner, gate: self.gate.clone() }))
    }
}

/// The application behind [`Paths`].
pub(crate) struct PathsService<S> {
    inner: S,
    gate: Gate,
}

impl<S> Service<ServiceRequest> for PathsService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = futures_util::future::Either<S::Future, Ready<Answer>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        use futures_util::future::Either::{Left, Right};

        let answer = match path::form(request.path()) {
            // No text has one, and databases differ in what they make of it.
            _ if request.query_string().contains("%00") => {
                HttpResponse::from_error(Problem::bad_request("bad-query", "a query has no NUL (%00)"))
            }
            Form::Normal => return Left(self.inner.call(request)),
            Form::Trailing(meant) => match with_path(request.uri(), meant) {
                Some(uri) => {
                    request.match_info_mut().get_mut().update(&uri);
                    request.head_mut().uri = uri;
                    return Left(self.inner.call(request));
                }
                None => HttpResponse::from_error(problem::of_status(StatusCode::BAD_REQUEST)),
            },
            Form::Elsewhere(single) => redirect(request.uri(), &single),
            Form::Whole if request.method() == Method::OPTIONS => {
                let allow = self.gate.guarded.allow.clone();
                HttpResponse::Ok().insert_header((header::ALLOW, allow)).finish()
            }
            Form::Whole => HttpResponse::from_error(Problem::bad_request(
                "bad-path",
                "\"*\" is the whole service: OPTIONS can be asked of that, nothing else",
            )),
            Form::Refused(why) => HttpResponse::from_error(Problem::bad_request("bad-path", why)),
        };
        let (begun, id) = (Instant::now(), RequestId::of(request.headers().get(X_REQUEST_ID)));
        Right(ready(Ok(self.gate.finish(answered(request, answer), &id, begun))))
    }
}

fn redirect(uri: &Uri, path: &str) -> HttpResponse {
    let location = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let body = "<!doctype html>\n<title>Permanent redirect</title>\n<p>This path is written with single slashes.</p>\n";
    HttpResponse::PermanentRedirect()
        .insert_header((header::LOCATION, location))
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .body(body)
}

/// The same address with another path.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}
