//! Responses for programs: the charts as ChartMuseum lists them, and what is not listed and why.

use super::page::Asked;
use super::response::{JSON, Response};
use super::route::Api;
use crate::budget;
use std::num::ParseIntError;

/// The response to `/api/…`.
pub(super) fn respond(asked: &Asked, api: &Api) -> Response {
    let (snapshot, client) = (asked.snapshot, asked.client);
    let page = match api {
        Api::Charts => snapshot.charts_json(client),
        Api::Chart(name) => snapshot.chart_json(name, client),
        Api::ChartVersion(name, version) => snapshot.chart_version_json(name, version, client),
        Api::Skipped => return skipped(asked),
    };
    asked.page(page, JSON, |why| error(404, &why))
}

/// One page of what isn't listed: `?offset=` and `?limit=` choose it, as in ChartMuseum's API. The total
/// is in a header field, and so is the way to the next page (RFC 8288).
fn skipped(asked: &Asked) -> Response {
    let snapshot = asked.snapshot;
    let target = &asked.request.target;
    let parameter = |name, absent| parameter(target, name).unwrap_or(Ok(absent));
    let (Ok(offset), Ok(limit)) = (
        parameter("offset", 0),
        parameter("limit", budget::SKIPPED_PAGE),
    ) else {
        return error(400, "offset and limit are numbers");
    };
    let limit = limit.clamp(1, budget::SKIPPED_PAGE);
    let page = snapshot.skipped_json(offset, limit, asked.client);
    let response = asked
        .page(page, JSON, |why| error(404, &why))
        .with("X-Total-Count", snapshot.counts.skipped.to_string());
    let next = offset.saturating_add(limit);
    match next < snapshot.skipped.len() {
        true => response.with(
            "Link",
            format!("<skipped?offset={next}&limit={limit}>; rel=\"next\""),
        ),
        false => response,
    }
}

/// The number that a query gives a parameter, if it does.
fn parameter(target: &str, name: &str) -> Option<Result<usize, ParseIntError>> {
    let query = target.split_once('?')?.1;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name);
    values.next().map(|(_, value)| value.parse())
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
