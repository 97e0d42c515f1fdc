//! The list of charts, all or those that a search finds, and the list of what isn't listed.

use super::super::route::has_page;
use super::frame::{ADDRESS, PAGE, Pages, Place, STATE, document};
use super::summary::Summary;
use super::text::shown;
use crate::inventory::{Skipped, StoredChart};
use crate::oci::percent_encoded;
use crate::snapshot::Listing;
use maud::{Markup, html};
use time::OffsetDateTime;

/// What precedes a path below the root, or nothing.
pub(super) struct Address<'a>(pub(super) Option<&'a str>);

/// What a list shows.
pub(super) struct List<'a> {
    pub(super) listing: &'a Listing,
    pub(super) prefix: Option<&'a str>,
    /// What is searched for; empty for all.
    pub(super) query: &'a str,
    /// The page that was asked for.
    pub(super) page: usize,
    /// How many repositories and tags are skipped; nothing where that isn't told.
    pub(super) skipped: usize,
    /// How a chart is added.
    pub(super) advice: &'a str,
}

impl maud::Render for Address<'_> {
    fn render(&self) -> Markup {
        html! { (ADDRESS) @if let Some(prefix) = self.0 { "/" (prefix) } }
    }
}

impl List<'_> {
    /// The page of the list.
    pub(super) fn render(&self) -> String {
        let found: Vec<&StoredChart> = match self.query {
            "" => self.listing.newest().collect(),
            query => {
                let query = query.to_lowercase();
                let newest = self.listing.newest();
                newest.filter(|chart| is_found(chart, &query)).collect()
            }
        };
        let pages = Pages::new(found.len(), self.page);
        let rows = found.iter().skip(pages.before()).take(PAGE);
        let rows: Vec<_> = rows.map(|chart| row(chart)).collect();
        let title = match self.prefix {
            Some(prefix) => format!("Helm charts of {prefix}"),
            None => "Helm charts".to_owned(),
        };
        let content = html! {
            h1 { (title) }
            (self.introduction())
            @if self.listing.names() > 0 { (self.search()) }
            @if !rows.is_empty() { (table(&rows, pages)) (pages.links(&self.query_string())) }
            @else if self.listing.names() > 0 { p { "No chart is found for “" (shown(self.query)) "”." } }
        };
        let place = Place {
            prefix: "",
            home: "./",
        };
        document(&title, place, &content, &self.footer())
    }

    fn introduction(&self) -> Markup {
        html! {
            @if self.listing.names() == 0 {
                p { "This chart repository is empty. To add a chart, " (self.advice) "." }
                @if self.skipped > 0 {
                    p { a href="./?skipped=1" { "What isn’t listed, and why" } }
                }
            }
            p { "Add this chart repository to Helm:" }
            pre { code { "helm repo add charts " (Address(self.prefix)) } }
        }
    }

    fn search(&self) -> Markup {
        html! {
            form role="search" action="./" {
                label for="q" { "Search" }
                input #q type="search" name="q" maxlength="200" value=(self.query);
                button { "Search" }
                @if !self.query.is_empty() { a href="./" { "Show all" } }
            }
        }
    }

    fn query_string(&self) -> String {
        match self.query {
            "" => "./?page=".to_owned(),
            query => format!("./?q={}&page=", in_query(query)),
        }
    }

    fn footer(&self) -> Markup {
        html! {
            p { (STATE) }
            p { a href="index.yaml" { "index.yaml" } }
            @if self.skipped > 0 {
                p { a href="./?skipped=1" { (self.skipped) " not listed" } }
            }
        }
    }
}

/// A value in a query. A `+` would be a blank there.
pub(super) fn in_query(value: &str) -> String {
    percent_encoded(value).replace('+', "%2B")
}

/// Whether name, description or keywords hold these lower-case letters.
fn is_found(chart: &StoredChart, query: &str) -> bool {
    let holds = |text: &str| text.to_lowercase().contains(query);
    let summary = Summary::of(chart);
    holds(chart.metadata.name())
        || holds(&summary.description)
        || summary.keywords.iter().any(|keyword| holds(keyword))
}

fn row(chart: &StoredChart) -> Markup {
    let (name, summary) = (chart.metadata.name(), Summary::of(chart));
    html! {
        tr {
            th scope="row" {
                @if has_page(name) { a href={ "charts/" (percent_encoded(name)) } { (shown(name)) } }
                @else { (shown(name)) }
                " " (badges(chart, &summary))
                @if !summary.description.is_empty() { p { (shown(&summary.description)) } }
            }
            td { (chart.metadata.version()) }
            td { (shown(&summary.app_version)) }
        }
    }
}

/// What is worth knowing of a version at first sight.
pub(super) fn badges(chart: &StoredChart, summary: &Summary) -> Markup {
    html! {
        @if summary.deprecated { span.badge.old { "deprecated" } " " }
        @if chart.layers.provenance.is_some() { span.badge { "signed" } }
    }
}

fn table(rows: &[Markup], pages: Pages) -> Markup {
    html! {
        table {
            caption { (pages.caption("chart")) }
            thead { tr {
                th scope="col" { "Chart" }
                th scope="col" { "Version" }
                th scope="col" { "App version" }
            } }
            tbody { @for row in rows { (row) } }
        }
    }
}

/// A page of what isn't listed.
pub(super) fn skipped(kept: &[Skipped], total: usize, page: usize) -> String {
    let pages = Pages::new(kept.len(), page);
    let rows = kept.iter().skip(pages.before()).take(PAGE);
    let content = html! {
        h1 { "Not listed" }
        p { "Repositories and tags of the storage that are not in the index, and why." }
        @if total > kept.len() { p { (total - kept.len()) " more are not shown here." } }
        @if !kept.is_empty() {
            table {
                caption { (pages.caption("entry").replace("entrys", "entries")) }
                thead { tr {
                    th scope="col" { "Repository or tag" }
                    th scope="col" { "Reason" }
                    th scope="col" { "Since" }
                } }
                tbody { @for one in rows { tr {
                    th scope="row" { (shown(&one.reference)) }
                    td { (shown(one.public_reason())) }
                    td.date { (date(OffsetDateTime::from_unix_timestamp(one.since).ok())) }
                } } }
            }
            (pages.links("./?skipped="))
        } @else { p { "Everything is listed." } }
    };
    let place = Place {
        prefix: "",
        home: "./",
    };
    document("Not listed", place, &content, &html! { p { (STATE) } })
}

/// A day, or nothing.
pub(super) fn date(time: Option<OffsetDateTime>) -> Markup {
    html! { @if let Some(time) = time { (time.date().to_string()) } }
}
