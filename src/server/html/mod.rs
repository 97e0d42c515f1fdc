//! Pages for people: the list of charts, a chart, what isn't listed, and sentences that say why there is
//! no page. They hold texts that any pusher may have written, so nothing in them executes and nothing
//! is loaded for them: the templates escape every text, and a policy says so to the browser again.
//!
//! A page is rendered once for a snapshot, with gaps in place of what differs by the request: the address,
//! and the state of the last refresh. So no address that a client makes up takes room among the kept
//! pages or reaches another client.

mod chart;
mod fields;
mod frame;
mod list;
mod query;
mod style;
mod text;

use super::address::Addressing;
use super::page::{Asked, busy};
use super::request::Request;
use super::response::{Response, ResponseBody, TEXT};
use super::route::path_of;
use crate::oci::RepositoryName;
use crate::representation::Representation;
use crate::snapshot::{ChartList, PageError, preferred};
use frame::POLICY;
pub(super) use frame::local_name;
use query::number;
use std::sync::Arc;

const HTML: &str = "text/html; charset=utf-8";
/// Longest text that is searched for, in bytes: that of a name.
const MAX_QUERY: usize = 200;
/// Most steps from a path back to the root that an error's page leads.
const MAX_STEPS: usize = 64;

/// A request for a page, and what it is answered from.
pub(super) struct Visit<'a> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) addressing: &'a Addressing,
    /// The chart repository that is visited.
    pub(super) base: Option<&'a RepositoryName>,
    /// What is known of the last refresh.
    pub(super) state: String,
    /// How a chart is added.
    pub(super) advice: &'a str,
}

/// Whether a request asks for a page, as browsers do.
pub(super) fn is_wanted(request: &Request) -> bool {
    let accept = request.headers.accept.as_deref().unwrap_or_default();
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

impl Visit<'_> {
    /// The list of charts, or of what isn't listed: `?q=`, `?page=` and `?skipped=` choose what of it.
    pub(super) fn list(&self) -> Response {
        let (snapshot, target) = (self.asked.snapshot, &self.asked.request.target);
        let (query, page, skipped) = match (
            query::text(target, "q"),
            number(target, "page"),
            number(target, "skipped"),
        ) {
            (Ok(query), Ok(page), Ok(skipped)) => (query.unwrap_or_default(), page, skipped),
            _ => {
                return Response::text(400, "q is one line of UTF-8; page and skipped are numbers");
            }
        };
        if query.len() > MAX_QUERY {
            return Response::text(400, "q is over 200 bytes");
        }
        if let (Some(page), None) = (skipped, self.base) {
            return self.skipped(page);
        }
        let listing = match snapshot.listing(self.base, self.asked.client) {
            Ok(listing) => listing,
            Err(error) => return self.respond(Err(error)),
        };
        let pages = frame::Paging::new(listing.names(), page.unwrap_or(1));
        let name = format!("list {:?} {}", self.prefix(), pages.page);
        let list = list::List {
            listing: &listing,
            address: frame::RepositoryUrl(self.prefix()),
            query: query.trim(),
            page: page.unwrap_or(1),
            skipped: self.base.map_or(snapshot.counts.skipped, |_| 0),
            advice: self.advice,
        };
        // What is searched for is not kept: there is no end of it.
        let name = list.query.is_empty().then_some(name);
        let expected = length(&listing, name.is_some().then_some(pages));
        let render = || list.render();
        self.respond(snapshot.html(name, self.asked.client, expected, &render))
    }

    fn skipped(&self, page: usize) -> Response {
        let snapshot = self.asked.snapshot;
        let pages = frame::Paging::new(snapshot.skipped.len(), page);
        let render = || list::skipped(&snapshot.skipped, snapshot.counts.skipped, pages);
        let name = format!("skipped {}", pages.page);
        self.respond(snapshot.html(Some(name), self.asked.client, 0, &render))
    }

    /// The page of a chart; `?version=` and `?page=` choose what of it.
    pub(super) fn chart(&self, name: &str) -> Response {
        let (snapshot, target) = (self.asked.snapshot, &self.asked.request.target);
        let (Ok(version), Ok(page)) = (query::text(target, "version"), number(target, "page"))
        else {
            return Response::text(400, "version is one line of UTF-8; page is a number");
        };
        let listing = match snapshot.listing(self.base, self.asked.client) {
            Ok(listing) => listing,
            Err(error) => return self.respond(Err(error)),
        };
        let versions = listing.versions(name);
        let is_it = |chart: &&Arc<_>| version_of(chart) == version.as_deref();
        let chosen = match version {
            None => versions.get(preferred(versions)),
            Some(_) => versions.iter().find(is_it),
        };
        let Some(chosen) = chosen else {
            let why = "no such version of this chart is listed".to_owned();
            return self.respond(Err(PageError::NotFound(why)));
        };
        let pages = frame::Paging::new(versions.len(), page.unwrap_or(1));
        let found = chosen.metadata.version();
        let page = chart::ChartPage {
            address: frame::RepositoryUrl(self.prefix()),
            versions,
            chosen,
            pages,
        };
        let key = format!(
            "chart {:?} {name:?} {found:?} {}",
            self.prefix(),
            pages.page
        );
        let shown = versions.iter().skip(pages.before()).take(frame::PAGE);
        let expected = shown.map(|chart| chart.metadata.size()).sum();
        self.respond(snapshot.html(Some(key), self.asked.client, expected, &|| page.render()))
    }

    fn prefix(&self) -> Option<&str> {
        self.base.map(RepositoryName::as_str)
    }

    /// The page with its gaps filled, unless the client has it already.
    fn respond(&self, page: Result<Arc<Representation>, PageError>) -> Response {
        let page = match page {
            Ok(page) => page,
            Err(PageError::NotFound(why)) => {
                return Response::text(404, format!("not found: {why}"));
            }
            Err(PageError::Busy) => return busy(),
        };
        let headers = &self.asked.request.headers;
        let address = self
            .addressing
            .of(headers.host.as_deref(), &headers.forwarded);
        let gaps = [address, self.state.clone()].map(|text| maud::html! { (text) }.into_string());
        let filled = page.identity().filled(gaps);
        secured(self.asked.conditional(&filled, HTML))
            .with("Cache-Control", "private, no-cache")
            .with("Vary", self.addressing.varies_by())
    }
}

fn version_of(chart: &crate::inventory::StoredChart) -> Option<&str> {
    Some(chart.metadata.version())
}

/// How many bytes of metadata are read for a page of a list, or for all of it.
fn length(listing: &ChartList, pages: Option<frame::Paging>) -> usize {
    let (skip, take) = pages.map_or((0, usize::MAX), |pages| (pages.before(), frame::PAGE));
    let charts = listing.preferred().skip(skip).take(take);
    charts.map(|chart| chart.metadata.size()).sum()
}

/// A sentence that says why there is no page, as a page.
pub(super) fn dressed(response: Response, request: &Request) -> Response {
    let is_sentence = |(name, value): &(&str, _)| *name == "Content-Type" && *value == TEXT;
    let (true, ResponseBody::Text(text)) = (response.status >= 400, &response.body) else {
        return response;
    };
    if !response.headers.iter().any(is_sentence) || !is_wanted(request) {
        return response;
    }
    let title = match response.status {
        404 => "Not found",
        503 => "Not ready",
        400 => "Not understood",
        _ => "Not possible",
    };
    // From a chart's page to the list of its charts, from other paths to the root.
    let path = path_of(&request.target);
    let inner = path.rsplit_once("/charts/").map(|(_, chart)| chart);
    let steps = match inner {
        Some(chart) => 1 + chart.matches('/').count(),
        None => path.matches('/').count().saturating_sub(1),
    };
    let home = match steps {
        0 => "./".to_owned(),
        1..=MAX_STEPS => "../".repeat(steps),
        _ => String::new(),
    };
    let page = frame::sentence(title, String::from_utf8_lossy(text).trim(), &home);
    let mut dressed = Response::lines(response.status, HTML, page);
    dressed.route = response.route;
    let other = response.headers.into_iter();
    dressed
        .headers
        .extend(other.filter(|field| !is_sentence(field)));
    secured(dressed)
}

/// The same, and nothing of it executes, whatever it holds.
fn secured(response: Response) -> Response {
    response
        .with("Content-Security-Policy", POLICY)
        .with("X-Content-Type-Options", "nosniff")
        .with("Referrer-Policy", "no-referrer")
}
