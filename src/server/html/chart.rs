//! The page of one chart: how to get a version of it, what its metadata says, and all versions.

use super::fields::{fields, list, text};
use super::frame::{Entries, PAGE, Paging, Place, RepositoryUrl, badges, date, document, table};
use super::text::{in_query, link, shown, size, word};
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
    pub(super) address: RepositoryUrl<'a>,
    /// All versions, newest first.
    pub(super) versions: &'a [Arc<StoredChart>],
    /// The one that is described.
    pub(super) chosen: &'a StoredChart,
    /// Which page of the list of versions.
    pub(super) pages: Paging,
}

impl ChartPage<'_> {
    /// The page.
    pub(super) fn render(&self) -> String {
        let metadata = &self.chosen.metadata;
        let (name, version, fields) = (metadata.name(), metadata.version(), fields(self.chosen));
        let mut details = details(self.chosen, &fields);
        if details.0.len() > MAX_DETAILS {
            details =
                html! { p { "Its metadata is too long for a page; the index has all of it." } };
        }
        let app_version = shown(text(&fields, "appVersion"));
        let content = html! {
            h1 { (shown(name)) }
            p {
                "Version " strong { (version) } " "
                @if !app_version.is_empty() { span.faint { "· app version " (app_version) " " } }
                (badges(self.chosen, &fields))
            }
            p { (shown(text(&fields, "description"))) }
            (self.commands(text(&fields, "type") == "library"))
            (details)
            (self.versions())
        };
        let place = Place {
            home: "../",
            prefix: self.address.0,
        };
        let title = format!("{} {version}", shown(name));
        document(&title, place, &content, &Markup::default())
    }

    fn commands(&self, is_library: bool) -> Markup {
        let metadata = &self.chosen.metadata;
        let (name, version) = (metadata.name(), metadata.version());
        let address = self.address.to_string();
        let rest = format!(
            "{} --repo {address} --version {}",
            word(name),
            word(version)
        );
        let name = serde_json::to_string(&shown(name)).unwrap_or_default();
        let dependency = format!(
            "dependencies:\n  - name: {name}\n    version: \"{version}\"\n    repository: \"{address}\""
        );
        html! {
            h2 { "Use it" }
            @if !is_library { (command(&format!("helm install my-release {rest}"))) }
            (command(&format!("helm pull {rest}")))
            p { "As a dependency, in Chart.yaml:" }
            (command(&dependency))
        }
    }

    fn versions(&self) -> Markup {
        let shown = self.versions.iter().skip(self.pages.before()).take(PAGE);
        let rows: Vec<_> = shown.map(|chart| version(chart, self.pages)).collect();
        let chosen = in_query(self.chosen.metadata.version());
        let columns = [
            ("Version", None),
            ("App version", Some("wide")),
            ("Created", Some("date")),
            ("Size", Some("wide")),
            ("Files", None),
        ];
        html! {
            h2 { "Versions" }
            (table(&self.pages.caption("version"), &columns, &rows))
            (self.pages.links(&format!("?version={chosen}&page=")))
        }
    }
}

/// Lines to be copied.
#[inline(never)]
fn command(lines: &str) -> Markup {
    html! { pre { code { (lines) } } }
}

fn version(chart: &StoredChart, pages: Paging) -> Vec<Markup> {
    let (version, fields) = (chart.metadata.version(), fields(chart));
    let file = format!("./{}", percent_encoded(&chart.archive_name()));
    let page = match pages.page {
        1 => String::new(),
        page => format!("&page={page}"),
    };
    let is_signed = chart.layers.provenance.is_some();
    vec![
        html! {
            a href={ "?version=" (in_query(version)) (page) } { (version) }
            " " (badges(chart, &fields))
        },
        plain(text(&fields, "appVersion")),
        date(chart.layers.created),
        plain(&size(chart.layers.archive.size)),
        html! {
            a href=(file) aria-label={ "Archive of " (version) } { "archive" }
            @if is_signed {
                ", " a href={ (file) ".prov" } aria-label={ "Provenance of " (version) } { "provenance" }
            }
        },
    ]
}

/// What the metadata says of a version beyond its name and description.
fn details(chart: &StoredChart, fields: &Value) -> Markup {
    let mut entries = Entries::default();
    for (title, name) in [
        ("Type", "type"),
        ("Kubernetes", "kubeVersion"),
        ("Home", "home"),
    ] {
        entries.add(title, linked(text(fields, name)));
    }
    for (title, name) in [
        ("Sources", "sources"),
        ("Maintainers", "maintainers"),
        ("Keywords", "keywords"),
    ] {
        let all = list(fields, name);
        let values = all.iter().take(MOST).map(|one| match one {
            Value::String(text) => linked(text),
            fields => maintainer(fields),
        });
        entries.add(title, joined(values.collect(), all.len()));
    }
    entries.add("Digest", plain(&chart.layers.archive.digest.to_string()));
    let all = list(fields, "dependencies");
    let rows: Vec<_> = all.iter().take(MOST).map(dependency).collect();
    let columns = [
        ("Chart", None),
        ("Version", None),
        ("Repository", None),
        ("Condition", Some("wide")),
    ];
    html! {
        h2 { "About it" }
        (entries)
        @if !rows.is_empty() {
            h2 { "Dependencies" }
            (table(&super::text::count(all.len(), "chart"), &columns, &rows))
        }
        (annotations(fields))
    }
}

fn annotations(fields: &Value) -> Markup {
    let Some(Value::Object(all)) = fields.get("annotations") else {
        return Markup::default();
    };
    let mut entries = Entries::default();
    for (key, value) in all.iter().take(MOST) {
        entries.add(key, linked(value.as_str().unwrap_or_default()));
    }
    html! { h2 { "Annotations" } (entries) (rest(all.len())) }
}

#[inline(never)]
fn plain(text: &str) -> Markup {
    html! { (shown(text)) }
}

/// A list of values, of which there are so many in all.
fn joined(values: Vec<Markup>, all: usize) -> Markup {
    html! {
        @if !values.is_empty() { ul { @for value in values { li { (value) } } } }
        (rest(all))
    }
}

fn rest(all: usize) -> Markup {
    html! { @if all > MOST { p { "and " (all - MOST) " more" } } }
}

/// A URL as a link if it is a harmless one, and any other text as it is.
#[inline(never)]
fn linked(text: &str) -> Markup {
    linked_to(text, text)
}

fn linked_to(url: &str, text: &str) -> Markup {
    html! {
        @match link(url) {
            Some(url) => a href=(url) rel="nofollow noopener noreferrer" { (shown(text)) },
            None => (shown(text)),
        }
    }
}

fn maintainer(fields: &Value) -> Markup {
    let email = text(fields, "email");
    html! {
        (shown(text(fields, "name"))) " "
        (linked_to(&format!("mailto:{email}"), email)) " "
        (linked(text(fields, "url")))
    }
}

fn dependency(fields: &Value) -> Vec<Markup> {
    let alias = text(fields, "alias");
    vec![
        html! {
            (shown(text(fields, "name")))
            @if !alias.is_empty() { " as " (shown(alias)) }
        },
        plain(text(fields, "version")),
        linked(text(fields, "repository")),
        plain(text(fields, "condition")),
    ]
}
