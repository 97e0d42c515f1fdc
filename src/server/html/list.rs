//! The list of charts, all or those that a search finds, and the list of what isn't listed.

use super::super::route::has_page;
use super::fields::{fields, is_found, needle, text};
use super::frame::{PAGE, Paging, Place, RepositoryUrl, badges, date, document, local_name, table};
use super::text::{in_query, shown};
use crate::inventory::{Skipped, StoredChart};
use crate::oci::percent_encoded;
use crate::snapshot::ChartList;
use maud::{Markup, html};
use time::OffsetDateTime;

/// What a list shows.
pub(super) struct List<'a> {
    pub(super) listing: &'a ChartList,
    pub(super) address: RepositoryUrl<'a>,
    /// What is searched for; empty for all.
    pub(super) query: &'a str,
    /// The page that was asked for.
    pub(super) page: usize,
    /// How many repositories and tags are skipped; nothing where that isn't told.
    pub(super) skipped: usize,
    /// How a chart is added.
    pub(super) advice: &'a str,
}

impl List<'_> {
    /// The page of the list.
    pub(super) fn render(&self) -> String {
        let needle = needle(self.query);
        let preferred = self.listing.preferred();
        let found = preferred.filter(|chart| needle.is_empty() || is_found(chart, &needle));
        let found: Vec<&StoredChart> = found.collect();
        let pages = Paging::new(found.len(), self.page);
        let rows = found.iter().skip(pages.before()).take(PAGE);
        let rows: Vec<_> = rows.map(|chart| row(chart)).collect();
        let columns = [
            ("Chart", None),
            ("Version", Some("version")),
            ("App version", Some("wide")),
        ];
        let mut title = "Helm charts".to_owned();
        if let Some(prefix) = self.address.0 {
            title += &format!(" of {prefix}");
        }
        let is_empty = self.listing.names() == 0;
        let content = html! {
            h1 { (title) }
            @if is_empty { p { "This chart repository is empty. To add a chart, " (self.advice) "." } }
            p { "Add this chart repository to Helm:" }
            pre { code { "helm repo add " (local_name(self.address.0)) " " (self.address) } }
            @if !is_empty { (self.search()) }
            @if !rows.is_empty() { (table(&pages.caption("chart"), &columns, &rows)) (pages.links(&self.query_string())) }
            @else if !is_empty { p { "No chart is found for “" (shown(self.query)) "”." } }
        };
        document(&title, Place::here(), &content, &self.footer())
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
            p { a href="index.yaml" { "index.yaml" } }
            @if self.skipped > 0 { p { a href="./?skipped=1" { (self.skipped) " not listed" } } }
        }
    }
}

fn row(chart: &StoredChart) -> Vec<Markup> {
    let (name, fields) = (chart.metadata.name(), fields(chart));
    let description = shown(text(&fields, "description"));
    vec![
        html! {
            @if has_page(name) { a href={ "charts/" (percent_encoded(name)) } { (shown(name)) } }
            @else { (shown(name)) }
            " " (badges(chart, &fields))
            @if !description.is_empty() { p { (description) } }
        },
        html! { (chart.metadata.version()) },
        html! { (shown(text(&fields, "appVersion"))) },
    ]
}

/// A page of what isn't listed: of what is kept of all, which are so many.
pub(super) fn skipped(kept: &[Skipped], total: usize, pages: Paging) -> String {
    let rows = kept.iter().skip(pages.before()).take(PAGE);
    let rows: Vec<_> = rows
        .map(|one| {
            let since = OffsetDateTime::from_unix_timestamp(one.since).ok();
            vec![
                html! { (shown(&one.reference)) },
                html! { (shown(one.public_reason())) },
                date(since),
            ]
        })
        .collect();
    let columns = [
        ("Repository or tag", None),
        ("Reason", None),
        ("Since", Some("date")),
    ];
    let content = html! {
        h1 { "Not listed" }
        p { "Repositories and tags of the storage that are not in the index, and why." }
        @if total > kept.len() { p { (total - kept.len()) " more are not shown here." } }
        @if kept.is_empty() { p { "Everything is listed." } }
        (table(&pages.caption("reference"), &columns, &rows))
        (pages.links("./?skipped="))
    };
    document("Not listed", Place::here(), &content, &Markup::default())
}
