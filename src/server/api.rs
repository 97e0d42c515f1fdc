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
    Response::page(page, JSON, request, |why| {
        Response::line(404, JSON, &serde_json::json!({ "error": why }).to_string())
    })
}
