//! From a request and the snapshot to a response. A response to a person is a sentence; no header
//! field holds bytes of the client's, except the `Location` of its own path.

use super::api;
use super::client::Connection;
use super::connections::ConnectionTable;
use super::downloads::Downloads;
use super::flight::InFlight;
use super::metadata_file::RepositoryMetadata;
use super::metrics;
use super::page::Asked;
use super::request::{ReadLimits, Request};
use super::response::{JSON, Response, ResponseBody, YAML};
use super::route::{BadTarget, Base, Route, UNKNOWN, is_probe, route};
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
    /// What precedes all paths: empty, or `/PATH`.
    pub(super) context_path: String,
    pub(super) log_requests: bool,
    /// See [`ServerOptions`](super::ServerOptions).
    pub(super) cors_allow_origin: Option<String>,
    pub(super) repository_metadata: RepositoryMetadata,
}

impl Responder {
    /// The response to one request.
    pub(super) fn respond(&self, request: &Request, connection: &Connection) -> Response {
        let mut route = route(&request.target, &self.context_path);
        if matches!(&route, Ok(Route::Base(prefix)) if !self.is_base(prefix)) {
            route = Ok(Route::Unknown);
        }
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
            Route::Home => self.home(request, &None),
            Route::Base(prefix) => self.home(request, &Some(prefix)),
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
            Route::Unknown => Response::text(
                404,
                "not found: there are /index.yaml and /charts/NAME-VERSION.tgz",
            ),
        }
    }

    /// Whether a chart repository is served below this prefix, as far as is known: a path that is asked
    /// for in vain costs no refresh. Clients such as Artifactory ask for the base URL first.
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
                let mut text = format!("ready: {}", snapshot.counts);
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
                if let Some(Failing { why, since }) = failing {
                    let seconds = since.elapsed().as_secs();
                    text += &format!("; refreshes have failed for {seconds} s: {why}");
                }
                Response::text(200, text)
            }
            (None, None) => not_ready(),
            (None, Some(failing)) => {
                Response::text(503, format!("{NOT_READY}: {}", failing.why)).retry_later()
            }
        }
    }

    /// What this is, and how to use it. The address is the one in the request, if it's plain.
    fn home(&self, request: &Request, base: &Base) -> Response {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
        let plain = |host: &&str| !host.is_empty() && host.bytes().all(is_plain);
        let host = request.headers.host.as_deref().filter(plain);
        let host = host.unwrap_or("THIS-ADDRESS");
        let context = &self.context_path;
        let path = base
            .as_ref()
            .map_or_else(|| context.clone(), |prefix| format!("{context}/{prefix}"));
        let state = match (base, self.current.get()) {
            (Some(prefix), _) => format!("charts in and below {prefix}"),
            (None, Some(snapshot)) => snapshot.counts.to_string(),
            (None, None) => NOT_READY.to_owned(),
        };
        Response::text(
            200,
            format!(
                "oci-chartrepo {}: the Helm charts of an OCI registry, as a classic chart repository.\n\n  \
                 helm repo add charts http://{host}{path}\n  helm search repo charts\n\n{state}\nindex: {path}/index.yaml",
                env!("CARGO_PKG_VERSION")
            ),
        )
    }
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
