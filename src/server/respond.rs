//! From a request and the snapshot to a response. A response to a person is a sentence; no header
//! field holds bytes of the client's, except the `Location` of its own path.

use super::address::Addressing;
use super::api;
use super::client::Connection;
use super::connections::ConnectionTable;
use super::downloads::Downloads;
use super::flight::InFlight;
use super::html::{self, Visit};
use super::metadata_file::RepositoryMetadata;
use super::metrics;
use super::page::Asked;
use super::request::{ReadLimits, Request};
use super::response::{JSON, Response, ResponseBody, YAML};
use super::route::{BadTarget, Base, Route, UNKNOWN, is_probe, path_of, route};
use crate::oci::RepositoryName;
use crate::refresh::{Current, Failing};
use crate::snapshot::Snapshot;
use std::sync::Arc;
use tiny_http::Method;

const NOT_READY: &str = "not ready: the first scan of the charts has not succeeded yet";

/// What pages of other origins may read of a response, besides what all may.
const EXPOSED: &str = "ETag, Link, Retry-After, X-Request-Id, X-Total-Count";
/// What they may send: a proxy in front may ask for a password.
const ALLOWED: &str = "Authorization, If-None-Match, If-Range, Range, X-Request-Id";

/// Responds to requests, from the snapshot in force and by downloads.
pub(super) struct Responder {
    pub(super) current: Arc<Current>,
    pub(super) downloads: Downloads,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) connections: Arc<ConnectionTable>,
    pub(super) read_limits: ReadLimits,
    pub(super) addressing: Addressing,
    pub(super) log_requests: bool,
    /// See [`ServerOptions`](super::ServerOptions).
    pub(super) cors_allow_origin: Option<String>,
    pub(super) repository_metadata: RepositoryMetadata,
}

impl Responder {
    /// The response to one request.
    pub(super) fn respond(&self, request: &Request, connection: &Connection) -> Response {
        let route = route(&request.target, &self.addressing.context_path);
        let route = route.map(|route| self.resolve(route, request));
        let template = route.as_ref().map_or(UNKNOWN, Route::template);
        let mut response = match (route, &request.method) {
            (Err(BadTarget(why)), _) => Response::text(400, why),
            (Ok(route @ Route::Unknown), _) | (Ok(route), Method::Get | Method::Head) => {
                self.get(request, connection, route)
            }
            (Ok(_), Method::Options) if self.cors_allow_origin.is_some() && !is_probe(template) => {
                preflight()
            }
            (_, Method::NonStandard(_)) => Response::text(501, "the method is unknown here"),
            (Ok(Route::Api(_)), _) => {
                api::read_only(self.downloads.how_to_add()).with("Allow", "GET, HEAD")
            }
            _ => self.read_only().with("Allow", "GET, HEAD"),
        };
        response.route = template;
        let response = html::dressed(response, request);
        match request.method {
            Method::Head => response.without_body(),
            _ => response,
        }
    }

    /// The response with what all responses to readable requests have: the request's id, and whether a
    /// browser shows it to pages of other origins. That is the same for each client, so that caches may
    /// keep it. Probes are no business of such pages.
    pub(super) fn complete(&self, request: &Request, mut response: Response) -> Response {
        if let Some(id) = request.headers.request_id() {
            response = response.with("X-Request-Id", id.to_owned());
        }
        match &self.cors_allow_origin {
            Some(origin) if !is_probe(response.route) => response
                .with("Access-Control-Allow-Origin", origin.clone())
                .with("Access-Control-Expose-Headers", EXPOSED),
            _ => response,
        }
    }

    /// The response to a client that uploads, as `helm cm-push` does, or deletes.
    fn read_only(&self) -> Response {
        let advice = self.downloads.how_to_add();
        Response::text(
            405,
            format!("only GET and HEAD are answered; to add a chart, {advice}"),
        )
    }

    /// What a path stands for, as far as that depends on what is listed: a path that is asked for in vain costs
    /// no refresh. Where both a chart's page and a chart repository are, browsers get the page; the repository
    /// is at the same path with a `/` at its end.
    fn resolve(&self, route: Route, request: &Request) -> Route {
        match route {
            Route::Base(prefix) if !self.is_base(&prefix) => Route::Unknown,
            Route::Chart(base, name) => {
                let path = base.iter().map(RepositoryName::as_str);
                let path = Vec::from_iter(path.chain(["charts", &*name])).join("/");
                let repository = path.parse().ok().filter(|prefix| self.is_base(prefix));
                let is_chart = self.has_chart(base.as_ref(), &name);
                match repository {
                    Some(prefix) if !(is_chart && html::is_wanted(request)) => Route::Base(prefix),
                    None if !is_chart => Route::Unknown,
                    _ => Route::Chart(base, name),
                }
            }
            other => other,
        }
    }

    fn get(&self, request: &Request, connection: &Connection, route: Route) -> Response {
        let page_missing = |why| Response::text(404, format!("not found: {why}"));
        let fresh = |response: &dyn Fn(&Asked) -> Response| {
            self.fresh(|snapshot| {
                response(&Asked {
                    snapshot,
                    request,
                    client: connection.client,
                })
            })
        };
        match route {
            Route::Home => self.home(request, connection, &None),
            Route::Base(prefix) => self.home(request, connection, &Some(prefix)),
            Route::Chart(base, name) => {
                self.visit(request, connection, &base, &|visit| visit.chart(&name))
            }
            Route::Slashes(location) => {
                Response::text(308, format!("moved: {location}")).with("Location", location)
            }
            Route::Health => Response::line(200, JSON, r#"{"healthy":true}"#),
            Route::Info => {
                let info = concat!(r#"{"version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
                Response::line(200, JSON, info)
            }
            Route::Live => Response::text(200, "alive"),
            Route::Ready => self.ready(),
            Route::Metrics => {
                let state = metrics::Scraped {
                    current: &self.current,
                    downloads: &self.downloads,
                    connections: &self.connections,
                };
                metrics::respond(request.headers.accept.as_deref(), &state)
            }
            Route::Index(None) => fresh(&|asked| asked.represent(asked.snapshot.index(), YAML)),
            Route::Index(prefix) => fresh(&|asked| {
                let page = asked.snapshot.index_below(prefix.as_ref(), asked.client);
                asked.page(page, YAML, page_missing)
            }),
            Route::IndexJson(prefix) => fresh(&|asked| {
                let page = asked
                    .snapshot
                    .index_json_below(prefix.as_ref(), asked.client);
                asked.page(page, JSON, page_missing)
            }),
            Route::Api(api) => fresh(&|asked| api::respond(asked, &api)),
            Route::ArtifactHub(base) => {
                let metadata = &self.repository_metadata;
                fresh(&|asked| metadata.respond(asked, connection, &base, &self.downloads))
            }
            Route::File(base, file) => self.chart_file(request, connection, &base, file),
            Route::Unknown => Response::text(404, self.nothing_here()),
        }
    }

    /// What there is in place of a path that names nothing.
    fn nothing_here(&self) -> String {
        let context = &*self.addressing.context_path;
        let why = match context {
            "" => String::new(),
            _ => format!(", as --context-path is {context}"),
        };
        format!(
            "not found: there are {context}/index.yaml and {context}/charts/NAME-VERSION.tgz{why}"
        )
    }

    /// Whether a chart repository is served below this prefix, as far as is known: a path that is asked
    /// for in vain costs no refresh. Clients such as Artifactory ask for the base URL first.
    fn has_chart(&self, base: Option<&RepositoryName>, name: &str) -> bool {
        let snapshot = self.current.get();
        snapshot.is_some_and(|snapshot| snapshot.has_chart_below(base, name))
    }

    fn is_base(&self, prefix: &RepositoryName) -> bool {
        let snapshot = self.current.get();
        snapshot.is_some_and(|snapshot| snapshot.has_charts_below(prefix))
    }

    /// The response that a snapshot gives which is as fresh as was configured.
    fn fresh(&self, response: impl FnOnce(&Snapshot) -> Response) -> Response {
        match self.current.fresh() {
            Some(snapshot) => response(&snapshot),
            None => not_ready(),
        }
    }

    /// Whether there is an index, and since when it can't be refreshed, if so, and why.
    fn ready(&self) -> Response {
        match (self.current.get(), self.current.failing()) {
            (Some(snapshot), failing) => {
                let text = format!("ready: {}", snapshot.counts);
                Response::text(200, text + &self.complaints(failing))
            }
            (None, None) => not_ready(),
            (None, Some(failing)) => {
                Response::text(503, format!("{NOT_READY}: {}", failing.why)).retry_later()
            }
        }
    }

    /// What is wrong with the index in force, each behind a `; `.
    fn complaints(&self, failing: Option<Failing>) -> String {
        let mut text = String::new();
        match self.current.restored().as_deref() {
            None => {}
            Some("") => text += "; from the mirror alone",
            Some(as_of) => text += &format!("; from the mirror alone, as of {as_of}"),
        }
        match self.current.unread() {
            0 => {}
            1 => text += "; 1 repository or tag could not be read yet",
            many => text += &format!("; {many} repositories or tags could not be read yet"),
        }
        if let Some(overdue) = self.current.overdue() {
            text += &format!("; {overdue}");
        }
        if let Some(Failing { why, since, .. }) = failing {
            let seconds = since.elapsed().as_secs();
            text += &format!("; refreshes have failed for {seconds} s: {why}");
        }
        text
    }

    /// A page for people, from a snapshot as fresh as an index.
    fn visit(
        &self,
        request: &Request,
        connection: &Connection,
        base: &Base,
        page: &dyn Fn(&Visit) -> Response,
    ) -> Response {
        let Some(snapshot) = self.current.fresh() else {
            return self.ready();
        };
        let age = match self.current.age().map(|age| age.as_secs() / 60) {
            None => "Not read from the storage yet".to_owned(),
            Some(0) => "Read from the storage less than a minute ago".to_owned(),
            Some(minutes) => format!("Read from the storage {minutes} min ago"),
        };
        let asked = Asked {
            snapshot: &snapshot,
            request,
            client: connection.client,
        };
        page(&Visit {
            asked: &asked,
            addressing: &self.addressing,
            base: base.as_ref(),
            state: age + &self.complaints(self.current.failing()),
            advice: self.downloads.how_to_add(),
        })
    }

    /// What this is, and how to use it: a page for browsers, a text for others.
    fn home(&self, request: &Request, connection: &Connection, base: &Base) -> Response {
        if html::is_wanted(request) {
            return match with_slash(&request.target) {
                Some(location) => {
                    Response::text(308, format!("moved: {location}")).with("Location", location)
                }
                None => self.visit(request, connection, base, &|visit| visit.list()),
            };
        }
        let headers = &request.headers;
        let mut address = self
            .addressing
            .of(headers.host.as_deref(), &headers.forwarded);
        if let Some(prefix) = base {
            address += &format!("/{prefix}");
        }
        let name = html::local_name(base.as_ref().map(RepositoryName::as_str));
        let state = match (base, self.current.get()) {
            (Some(prefix), _) => format!("charts in and below {prefix}"),
            (None, Some(snapshot)) => snapshot.counts.to_string(),
            (None, None) => NOT_READY.to_owned(),
        };
        Response::text(
            200,
            format!(
                "oci-chartrepo {}: the Helm charts of an OCI registry, as a classic chart repository.\n\n  \
                 helm repo add {name} {address}\n  helm search repo {name}\n\n{state}\nindex: {address}/index.yaml",
                env!("CARGO_PKG_VERSION")
            ),
        )
        .with("Vary", "Accept")
    }
}

/// The way from a path without a `/` at its end to the same with it, for the links of its page are relative.
/// Relative, because the client may know the path below a prefix that a proxy has cut off.
fn with_slash(target: &str) -> Option<String> {
    let query = target.find('?').map_or("", |at| &target[at..]);
    let (_, last) = path_of(target).rsplit_once('/')?;
    let is_plain = target.bytes().all(|byte| byte.is_ascii_graphic());
    (!last.is_empty() && is_plain).then(|| format!("{last}/{query}"))
}

/// What a browser is told before a request that it doesn't send of its own accord (Fetch, "CORS-preflight
/// fetch").
fn preflight() -> Response {
    Response::new(204, ResponseBody::Absent)
        .with("Access-Control-Allow-Methods", "GET, HEAD")
        .with("Access-Control-Allow-Headers", ALLOWED)
        .with("Access-Control-Max-Age", "86400")
}

/// The response before the first snapshot.
pub(super) fn not_ready() -> Response {
    Response::text(503, NOT_READY).retry_later()
}
