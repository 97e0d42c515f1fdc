//! Responses for programs: the charts as ChartMuseum lists them, and what is not listed and why.

use super::request::Request;
use super::response::{JSON, Response};
use super::route::Api;
use crate::snapshot::Snapshot;

/// The response to `/api/…`.
pub(super) fn respond(snapshot: &Snapshot, request: &Request, api: &Api) -> Response {
    let page = match api {
        Api::Charts => snapshot.charts_json(),
        Api::Chart(name) => snapshot.chart_json(name),
        Api::ChartVersion(name, version) => snapshot.chart_version_json(name, version),
        Api::Skipped => snapshot.skipped_json(),
    };
    Response::page(page, JSON, request, |why| error(404, &why))
}

/// The response to a client that pushes, as `helm cm-push` does, or deletes.
pub(super) fn read_only(how_to_add: &str) -> Response {
    error(
        405,
        &format!("charts are not pushed here; to add one, {how_to_add}"),
    )
}

fn error(status: u16, why: &str) -> Response {
    Response::line(
        status,
        JSON,
        &serde_json::json!({ "error": why }).to_string(),
    )
}
