//! From a request and the snapshot to a response. A response to a person is a sentence; a header
//! field never holds bytes of the client's.

use super::api;
use super::connections::Connection;
use super::downloads::Downloads;
use super::request::Request;
use super::response::{JSON, Response, YAML};
use super::route::{BadTarget, Route, route};
use crate::refresh::Current;
use crate::snapshot::Snapshot;
use std::sync::Arc;
use tiny_http::Method;

const NOT_READY: &str = "not ready: the first walk of the charts has not succeeded yet";

/// Responds to requests, from the snapshot in force and by downloads.
pub(super) struct Responder {
    pub(super) current: Arc<Current>,
    pub(super) downloads: Downloads,
}

impl Responder {
    /// The response to one request.
    pub(super) fn respond(&self, request: &Request, connection: &Connection) -> Response {
        let response = match (route(&request.target), &request.method) {
            (Err(BadTarget(why)), _) => Response::text(400, why),
            (Ok(route @ Route::Unknown), _) | (Ok(route), Method::Get | Method::Head) => {
                self.get(request, connection, route)
            }
            (_, Method::NonStandard(_)) => Response::text(501, "the method is unknown here"),
            _ => self.read_only().with("Allow", "GET, HEAD"),
        };
        match request.method {
            Method::Head => response.without_body(),
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
        match route {
            Route::Home => self.home(request),
            Route::Live => Response::text(200, "alive"),
            Route::Ready => self.ready(),
            Route::Index(None) => {
                self.fresh(|snapshot| Response::represent(snapshot.index(), YAML, request))
            }
            Route::Index(prefix) => self.fresh(|snapshot| {
                let page = snapshot.index_below(prefix.as_ref());
                Response::page(page, YAML, request, page_missing)
            }),
            Route::IndexJson(prefix) => self.fresh(|snapshot| {
                let page = snapshot.index_json_below(prefix.as_ref());
                Response::page(page, JSON, request, page_missing)
            }),
            Route::Api(api) => self.fresh(|snapshot| api::respond(snapshot, request, &api)),
            Route::File(base, file) => self.chart_file(request, connection, &base, file),
            Route::Unknown => Response::text(
                404,
                "not found: there are /index.yaml and /charts/NAME-VERSION.tgz",
            ),
        }
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
            (Some(snapshot), None) => Response::text(200, format!("ready: {}", snapshot.counts)),
            (Some(snapshot), Some(failing)) => Response::text(
                200,
                format!(
                    "ready: {}; refreshes have failed for {} s: {}",
                    snapshot.counts,
                    failing.since.elapsed().as_secs(),
                    failing.why
                ),
            ),
            (None, None) => not_ready(),
            (None, Some(failing)) => {
                Response::text(503, format!("{NOT_READY}: {}", failing.why)).retry_later()
            }
        }
    }

    /// What this is, and how to use it. The address is the one in the request, if it's plain.
    fn home(&self, request: &Request) -> Response {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte);
        let plain = |host: &&str| !host.is_empty() && host.bytes().all(is_plain);
        let host = request.headers.host.as_deref().filter(plain);
        let host = host.unwrap_or("THIS-ADDRESS");
        let state = match self.current.get() {
            Some(snapshot) => snapshot.counts.to_string(),
            None => NOT_READY.to_owned(),
        };
        Response::text(
            200,
            format!(
                "oci-chartrepo {}: the Helm charts of an OCI registry, as a classic chart repository.\n\n  \
                 helm repo add charts http://{host}\n  helm search repo charts\n\n{state}\nindex: /index.yaml",
                env!("CARGO_PKG_VERSION")
            ),
        )
    }
}

/// The response before the first snapshot.
pub(super) fn not_ready() -> Response {
    Response::text(503, NOT_READY).retry_later()
}
