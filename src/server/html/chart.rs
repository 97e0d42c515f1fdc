//! The page of one chart: how to get a version of it, what its metadata says, and all versions.

use super::frame::{PAGE, Pages, Place, STATE, document};
use super::list::{Address, badges, date, in_query};
use super::summary::Summary;
use super::text::{link, shown, size, word};
use crate::inventory::StoredChart;
use crate::oci::percent_encoded;
use maud::{Markup, html};
use serde_json::Value;
use std::sync::Arc;

/// Most entries of one list in a chart's metadata that are shown.
const MOST: usize = 100;
/// Most bytes of what is shown of a version's metadata: a hundred times what an ordinary one takes.
const MAX_DETAILS: usize = 256 * 1024;

/// What a chart's page shows.
pub(super) struct ChartPage<'a> {
    pub(super) prefix: Option<&'a str>,
    /// All versions, newest first.
    pub(super) versions: &'a [Arc<StoredChart>],
    /// The one that is described.
    pub(super) chosen: &'a StoredChart,
    /// The page of the list of versions that was asked for.
    pub(super) page: usize,
}

impl ChartPage<'_> {
    /// The page.
    pub(super) fn render(&self) -> String {
        let metadata = &self.chosen.metadata;
        let fields: Value = serde_json::from_str(metadata.json()).unwrap_or_default();
        let mut details = details(self.chosen, &fields);
        if details.0.len() > MAX_DETAILS {
            details =
                html! { p { "Its metadata is too long for a page; the index has all of it." } };
        }
        let (name, summary) = (metadata.name(), Summary::of(self.chosen));
        let content = html! {
            h1 { (shown(name)) }
            p {
                "Version " strong { (metadata.version()) } " "
                @if !summary.app_version.is_empty() { span.faint { "· app version " (shown(&summary.app_version)) " " } }
                (badges(self.chosen, &summary))
            }
            @if !summary.description.is_empty() { p { (shown(&summary.description)) } }
            (self.commands(text(&fields, "type") == "library"))
            (details)
            (self.versions())
        };
        let place = Place {
            prefix: self.prefix.unwrap_or_default(),
            home: "../",
        };
        let title = format!("{} {}", shown(name), metadata.version());
        document(&title, place, &content, &html! { p { (STATE) } })
    }

    fn commands(&self, is_library: bool) -> Markup {
        let metadata = &self.chosen.metadata;
        let (name, version) = (word(metadata.name()), word(metadata.version()));
        let quoted = serde_json::to_string(&shown(metadata.name())).unwrap_or_default();
        html! {
            h2 { "Use it" }
            @if !is_library {
                pre { code {
                    "helm install my-release " (name) " --repo " (Address(self.prefix)) " --version " (version)
                } }
            }
            pre { code { "helm pull " (name) " --repo " (Address(self.prefix)) " --version " (version) } }
            p { "As a dependency, in Chart.yaml:" }
            pre { code {
                "dependencies:\n  - name: " (quoted) "\n    version: \"" (metadata.version())
                "\"\n    repository: \"" (Address(self.prefix)) "\""
            } }
        }
    }

    fn versions(&self) -> Markup {
        let pages = Pages::new(self.versions.len(), self.page);
        let rows = self.versions.iter().skip(pages.before()).take(PAGE);
        let chosen = format!(
            "?version={}&page=",
            in_query(self.chosen.metadata.version())
        );
        html! {
            h2 { "Versions" }
            table {
                caption { (pages.caption("version")) }
                thead { tr {
                    th scope="col" { "Version" }
                    th scope="col" .wide { "App version" }
                    th scope="col" { "Created" }
                    th scope="col" .wide { "Size" }
                    th scope="col" { "Files" }
                } }
                tbody { @for chart in rows { (version(chart, pages.page)) } }
            }
            (pages.links(&chosen))
        }
    }
}

fn version(chart: &StoredChart, page: usize) -> Markup {
    let (metadata, summary) = (&chart.metadata, Summary::of(chart));
    let version = metadata.version();
    let archive = format!("./{}", percent_encoded(&chart.archive_name()));
    html! {
        tr {
            th scope="row" {
                a href={ "?version=" (in_query(version)) @if page > 1 { "&page=" (page) } } { (version) }
                @if summary.deprecated { " " span.badge.old { "deprecated" } }
            }
            td.wide { (shown(&summary.app_version)) }
            td.date { (date(chart.created)) }
            td.size.wide { (size(chart.layers.archive.size)) }
            td {
                a href=(archive) aria-label={ "Archive of " (version) } { "archive" }
                @if chart.layers.provenance.is_some() {
                    ", " a href={ (archive) ".prov" } aria-label={ "Provenance of " (version) } { "provenance" }
                }
            }
        }
    }
}

/// What the metadata says of a version beyond its name and description.
fn details(chart: &StoredChart, fields: &Value) -> Markup {
    let texts = |name| {
        let list: Vec<Markup> = list(fields, name)
            .iter()
            .map(|one| linked(one.as_str().unwrap_or_default()))
            .collect();
        list
    };
    let one =
        |name| Vec::from_iter((!text(fields, name).is_empty()).then(|| linked(text(fields, name))));
    let digest = html! { (chart.layers.archive.digest.to_string()) };
    let maintainers = list(fields, "maintainers").iter().map(maintainer).collect();
    html! {
        h2 { "About it" }
        dl {
            (entry("Type", one("type")))
            (entry("Kubernetes", one("kubeVersion")))
            (entry("Home", one("home")))
            (entry("Sources", texts("sources")))
            (entry("Maintainers", maintainers))
            (entry("Keywords", texts("keywords")))
            (entry("Digest", vec![digest]))
        }
        (dependencies(list(fields, "dependencies")))
        (annotations(&fields["annotations"]))
    }
}

fn text<'a>(fields: &'a Value, name: &str) -> &'a str {
    fields[name].as_str().unwrap_or_default()
}

fn list<'a>(fields: &'a Value, name: &str) -> &'a [Value] {
    fields[name].as_array().map_or(&[], Vec::as_slice)
}

fn entry(name: &str, values: Vec<Markup>) -> Markup {
    let more = values.len().saturating_sub(MOST);
    html! {
        @if !values.is_empty() {
            dt { (name) }
            dd { ul {
                @for value in values.iter().take(MOST) { li { (value) } }
                @if more > 0 { li { "and " (more) " more" } }
            } }
        }
    }
}

/// A URL as a link if it is a harmless one, and any other text as it is.
fn linked(text: &str) -> Markup {
    html! {
        @match link(text) {
            Some(url) => a href=(url) rel="nofollow noopener noreferrer" { (shown(url)) },
            None => (shown(text)),
        }
    }
}

fn maintainer(fields: &Value) -> Markup {
    let (name, email, url) = (
        text(fields, "name"),
        text(fields, "email"),
        text(fields, "url"),
    );
    let mailto = format!("mailto:{email}");
    html! {
        (shown(name))
        @if !email.is_empty() {
            " "
            @match link(&mailto) {
                Some(mailto) => a href=(mailto) rel="nofollow noopener noreferrer" { (shown(email)) },
                None => (shown(email)),
            }
        }
        @if !url.is_empty() { " " (linked(url)) }
    }
}

fn dependencies(all: &[Value]) -> Markup {
    html! {
        @if !all.is_empty() {
            h2 { "Dependencies" }
            table {
                thead { tr {
                    th scope="col" { "Chart" }
                    th scope="col" { "Version" }
                    th scope="col" { "Repository" }
                    th scope="col" .wide { "Condition" }
                } }
                tbody { @for one in all.iter().take(MOST) { tr {
                    th scope="row" {
                        (shown(text(one, "name")))
                        @if !text(one, "alias").is_empty() { " as " (shown(text(one, "alias"))) }
                    }
                    td { (shown(text(one, "version"))) }
                    td { (linked(text(one, "repository"))) }
                    td.wide { (shown(text(one, "condition"))) }
                } } }
            }
            @if all.len() > MOST { p { "and " (all.len() - MOST) " more" } }
        }
    }
}

fn annotations(all: &Value) -> Markup {
    let count = all.as_object().map_or(0, |all| all.len());
    html! {
        @if count > 0 {
            h2 { "Annotations" }
            dl { @for (key, value) in all.as_object().into_iter().flatten().take(MOST) {
                dt { (shown(key)) }
                dd { (linked(value.as_str().unwrap_or_default())) }
            } }
            @if count > MOST { p { "and " (count - MOST) " more" } }
        }
    }
}
