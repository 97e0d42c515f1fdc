//! Responses for programs: the charts as ChartMuseum lists them, and what is not listed and why.

use super::page::Asked;
use super::response::{JSON, Response};
use super::route::Api;
use crate::budget;
use crate::snapshot::ChartsAsked;
use std::num::ParseIntError;

/// The response to `/api/…`.
pub(super) fn respond(asked: &Asked, api: &Api) -> Response {
    let query = match api {
        Api::Charts(query) => query,
        Api::Skipped => {
            return window(&asked.request.target)
                .map_or_else(|why| error(400, why), |window| skipped(asked, window));
        }
    };
    let mut query = query.clone();
    if let ChartsAsked::All { .. } = query.what {
        query.what = match window(&asked.request.target) {
            Ok(Window { offset, limit }) => ChartsAsked::All { offset, limit },
            Err(why) => return error(400, why),
        };
    }
    let page = asked.snapshot.charts_json(&query, asked.client);
    asked.page(page, JSON, |why| error(404, &why))
}

/// One page of what isn't listed. The total is in a header field, and so is the way to the next page
/// (RFC 8288).
fn skipped(asked: &Asked, Window { offset, limit }: Window) -> Response {
    let (snapshot, limit) = (asked.snapshot, limit.min(budget::SKIPPED_PAGE));
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

/// Which part of a list is asked for.
struct Window {
    offset: usize,
    limit: usize,
}

/// Reads `?offset=` and `?limit=` as ChartMuseum does, but for an offset without a limit, with which that
/// lists nothing.
fn window(target: &str) -> Result<Window, &'static str> {
    let offset = parameter(target, "offset").unwrap_or(Ok(0));
    let limit = parameter(target, "limit").unwrap_or(Ok(usize::MAX));
    Ok(Window {
        offset: offset.map_err(|_| "offset is not a valid non-negative integer")?,
        limit: match limit {
            Ok(0) | Err(_) => return Err("limit is not a valid positive integer"),
            Ok(limit) => limit,
        },
    })
}

/// The number that a query gives a parameter, if it does.
fn parameter(target: &str, name: &str) -> Option<Result<usize, ParseIntError>> {
    let query = target.split_once('?')?.1;
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(value.parse())
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
