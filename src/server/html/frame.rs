//! What all pages have in common: the document around them, where they lead, and how many there are.

use super::style::STYLE;
use super::text::{count, shown};
use crate::inventory::StoredChart;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};
use serde_json::Value;
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a browser may load and do for a page (Content Security Policy Level 3): apply the style sheet, and
/// send the search form back here. No script runs, whatever gets into a page.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'sha256-MP3V2BGq36In8TgHAa+iEVL0equtdtlo3KZtgNKT/iY='; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Stands for the address of the chart repository's root until a request comes, and for what is known of
/// the last refresh.
const GAPS: [&str; 2] = ["\0", "\u{1}"];

/// The address of a chart repository: that of the root, or of the prefix below it.
#[derive(Clone, Copy)]
pub(super) struct RepositoryUrl<'a>(pub(super) Option<&'a str>);

/// What a chart repository is called at its client: each prefix otherwise, so that one client has several.
pub fn local_name(prefix: Option<&str>) -> &str {
    let last = prefix.and_then(|prefix| prefix.rsplit('/').next());
    last.unwrap_or("charts")
}

impl fmt::Display for RepositoryUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(GAPS[0])?;
        match self.0 {
            Some(prefix) => write!(f, "/{prefix}"),
            None => Ok(()),
        }
    }
}

impl Render for RepositoryUrl<'_> {
    fn render(&self) -> Markup {
        PreEscaped(self.to_string())
    }
}

/// Where a page is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The way to the list of its charts; empty if it isn't known.
    pub(super) home: &'a str,
    /// The prefix of its chart repository, if that is worth telling.
    pub(super) prefix: Option<&'a str>,
}

impl Place<'_> {
    /// The list itself.
    pub(super) fn here() -> Place<'static> {
        Place {
            home: "./",
            prefix: None,
        }
    }
}

/// A whole page.
pub(super) fn document(title: &str, place: Place, content: &Markup, footer: &Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) }
                meta name="viewport" content="width=device-width, initial-scale=1";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    @if place.home.is_empty() { strong { "Chart repository" } }
                    @else { a href=(place.home) { "Chart repository" } }
                    @if let Some(prefix) = place.prefix { span.faint { (prefix) } }
                }
                main { (content) }
                footer { p { (PreEscaped(GAPS[1])) } (footer) }
            }
        }
    };
    document.into_string()
}

/// A page with a sentence. It has no gap.
pub(super) fn sentence(title: &str, sentence: &str, home: &str) -> String {
    let content = html! { h1 { (title) } p { (shown(sentence)) } };
    let place = Place { home, prefix: None };
    document(title, place, &content, &Markup::default()).replace(GAPS[1], "oci-chartrepo")
}

/// The title of a column, and its class.
pub(super) type Column = (&'static str, Option<&'static str>);

/// A table, if it has rows. The first cell of a row is what the row is about.
pub(super) fn table(caption: &str, columns: &[Column], rows: &[Vec<Markup>]) -> Markup {
    html! { @if !rows.is_empty() {
        table {
            caption { (caption) }
            thead { tr { @for (title, class) in columns { th scope="col" class=[class] { (title) } } } }
            tbody { @for row in rows { tr { @for (at, cell) in row.iter().enumerate() {
                @if at == 0 { th scope="row" { (cell) } }
                @else { td class=[columns[at].1] { (cell) } }
            } } } }
        }
    } }
}

/// Names and what they have for values.
#[derive(Default)]
pub(super) struct Entries(String);

impl Entries {
    /// Adds one, unless it is empty.
    pub(super) fn add(&mut self, name: &str, value: Markup) {
        if !value.0.is_empty() {
            self.0 += &html! { dt { (shown(name)) } dd { (value) } }.0;
        }
    }
}

impl Render for Entries {
    fn render(&self) -> Markup {
        html! { dl { (PreEscaped(&self.0)) } }
    }
}

/// What is worth knowing of a version at first sight.
#[inline(never)]
pub(super) fn badges(chart: &StoredChart, fields: &Value) -> Markup {
    html! {
        @if fields.get("deprecated").is_some() { span.badge.old { "deprecated" } " " }
        @if chart.layers.provenance.is_some() { span.badge { "signed" } }
    }
}

/// A day, or nothing.
pub(super) fn date(time: Option<OffsetDateTime>) -> Markup {
    let time = time.and_then(|time| time.format(&Rfc3339).ok());
    PreEscaped(time.map_or_else(String::new, |time| time.chars().take(10).collect()))
}

/// A part of a list of many.
#[derive(Clone, Copy)]
pub(super) struct Paging {
    /// How many entries there are in all.
    pub(super) total: usize,
    /// Which page this is, from 1 on.
    pub(super) page: usize,
}

/// Entries of one page.
pub(super) const PAGE: usize = 100;

impl Paging {
    /// The page that was asked for, or the last one.
    pub(super) fn new(total: usize, asked: usize) -> Paging {
        let last = total.div_ceil(PAGE).max(1);
        Paging {
            total,
            page: asked.clamp(1, last),
        }
    }

    /// How many entries come before this page.
    pub(super) fn before(self) -> usize {
        (self.page - 1) * PAGE
    }

    /// In words, for the caption of a table.
    pub(super) fn caption(self, noun: &str) -> String {
        let last = (self.before() + PAGE).min(self.total);
        match self.total > PAGE {
            true => format!(
                "{} to {last} of {}",
                self.before() + 1,
                count(self.total, noun)
            ),
            false => count(self.total, noun),
        }
    }

    /// The ways to the pages before and after this one; `query` is what precedes the number in the URL.
    pub(super) fn links(self, query: &str) -> Markup {
        let last = self.total.div_ceil(PAGE).max(1);
        html! {
            @if last > 1 {
                nav.pages aria-label="Paging" {
                    @if self.page > 1 { a rel="prev" href={ (query) (self.page - 1) } { "Previous" } }
                    span.faint { "Page " (self.page) " of " (last) }
                    @if self.page < last { a rel="next" href={ (query) (self.page + 1) } { "Next" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn the_policy_names_the_hash_of_the_style_sheet() {
        let digest = Digest::sha256(STYLE.as_bytes());
        let hex = digest.sha256_hex().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let hash = STANDARD.encode(Vec::from_iter((0..64).step_by(2).map(byte)));
        assert!(POLICY.contains(&format!(" 'sha256-{hash}';")), "{hash}");
    }

    #[test]
    fn a_page_beyond_the_last_is_the_last() {
        for (total, asked, page, caption) in [
            (0, 1, 1, "0 charts"),
            (1, 9, 1, "1 chart"),
            (101, 0, 1, "1 to 100 of 101 charts"),
            (101, 2, 2, "101 to 101 of 101 charts"),
            (200, usize::MAX, 2, "101 to 200 of 200 charts"),
        ] {
            let pages = Paging::new(total, asked);
            assert_eq!((pages.page, &*pages.caption("chart")), (page, caption));
        }
    }
}
