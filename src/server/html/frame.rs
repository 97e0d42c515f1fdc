//! What all pages have in common: the document around them, where they lead, and how many there are.

use super::text::{count, shown};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The one style sheet. The policy in [`POLICY`] allows it by its hash, and nothing else.
const STYLE: &str = include_str!("style.css");
/// What a browser may load and do for a page (Content Security Policy Level 3): apply the style sheet, and
/// send the search form back here. No script runs, whatever gets into a page.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'sha256-BT5Tb0kooZfs6IW6xnEtqmGTsNZxzFvD8lt2n5U5SYg='; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Stands for the address of the chart repository's root until a request comes.
pub(super) const ADDRESS: PreEscaped<&str> = PreEscaped("\0");
/// Stands for what is known of the last refresh.
pub(super) const STATE: PreEscaped<&str> = PreEscaped("\u{1}");

/// Where a page is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The prefix of its chart repository, for people; empty without one.
    pub(super) prefix: &'a str,
    /// The way to the list of its charts; empty if it isn't known.
    pub(super) home: &'a str,
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
                    strong {
                        @if place.home.is_empty() { "Chart repository" }
                        @else { a href=(place.home) { "Chart repository" } }
                    }
                    @if !place.prefix.is_empty() { span.faint { (place.prefix) } }
                }
                main { (content) }
                footer { (footer) }
            }
        }
    };
    document.into_string()
}

/// A page with a sentence.
pub(super) fn sentence(title: &str, sentence: &str, home: &str) -> String {
    let content = html! {
        h1 { (title) }
        p { (shown(sentence)) }
    };
    let place = Place { prefix: "", home };
    let footer = html! { p { "oci-chartrepo " (env!("CARGO_PKG_VERSION")) } };
    document(title, place, &content, &footer)
}

/// A part of a list of many.
#[derive(Clone, Copy)]
pub(super) struct Pages {
    /// How many entries there are in all.
    pub(super) total: usize,
    /// Which page this is, from 1 on.
    pub(super) page: usize,
}

/// Entries of one page.
pub(super) const PAGE: usize = 100;

impl Pages {
    /// The page that was asked for, or the last one.
    pub(super) fn new(total: usize, asked: usize) -> Pages {
        let last = total.div_ceil(PAGE).max(1);
        Pages {
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
                nav.pages aria-label="Pages" {
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
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_policy_names_the_hash_of_the_style_sheet() {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
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
            let pages = Pages::new(total, asked);
            assert_eq!((pages.page, &*pages.caption("chart")), (page, caption));
        }
    }
}
