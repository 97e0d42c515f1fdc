//! Listings that come in pages (distribution-spec v1.1.0, "Listing Tags").
//!
//! `Link` headers point to wrong hosts, to plain http behind TLS, to paths that a proxy has
//! rewritten. So we keep our own scheme, host and path and adopt only the query of the next page,
//! which heals all of these and can't be used to steer us elsewhere.

/// Most pages of one listing: with 100 names each, ten times the largest registry we aim at.
pub(super) const MAX_PAGES: usize = 5_000;
/// Largest page, in bytes: some registries list 10,000s of tags in one.
pub(super) const MAX_PAGE: u64 = 16 * 1024 * 1024;
/// Most names on one page: of 80 bytes each, they fill it. A hostile one of shorter names would take
/// twenty times its length in memory.
pub(super) const MAX_NAMES: usize = 200_000;
/// Longest listing, in bytes as it's held: a million names of forty bytes.
pub(super) const MAX_LISTING: usize = 96 * 1024 * 1024;
/// What a name takes besides its own bytes: its place in a set, and what an allocation costs.
const NAME: usize = 56;

/// What names take, in bytes.
pub(super) fn weight<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    names.map(|name| name.len() + NAME).sum()
}

/// The query of the next page, if one of the `Link` headers (RFC 8288) names one.
pub(super) fn next_query(headers: &[String]) -> Option<String> {
    headers
        .iter()
        .flat_map(|header| links(header))
        .find(|(_, parameters)| is_next(parameters))
        .and_then(|(target, _)| {
            let query = target.split_once('?')?.1;
            let query = query.split('#').next()?.trim_end_matches('&');
            let plain = query.bytes().all(|b| b.is_ascii_graphic());
            (plain && !query.is_empty()).then(|| query.to_owned())
        })
}

/// The query that may lead on from a full page without a link: Trow pages by `last`, but links to
/// nothing.
pub(super) fn guessed_query(length: Option<u32>, page: &[String]) -> Option<String> {
    let (length, last) = (length?, page.last()?);
    (page.len() >= length as usize)
        .then(|| format!("n={length}&last={}", super::url::encode_query(last)))
}

/// The links of one header as (target, parameters). A target ends at its `>`, so commas in it are
/// no trouble.
fn links(header: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else {
            break;
        };
        let end = after.find('<').unwrap_or(after.len());
        links.push((target, &after[..end]));
        rest = &after[end..];
    }
    links
}

/// Whether `; rel=next` is among the parameters, with or without quotes.
fn is_next(parameters: &str) -> bool {
    parameters.split([';', ',']).any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel")
            && relations
                .into_iter()
                .any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(header: &str) -> Option<String> {
        next_query(&[header.to_owned()])
    }

    #[test]
    fn the_query_of_the_next_page_is_found_in_every_spelling() {
        for header in [
            r#"</v2/_catalog?last=b&n=2>; rel="next""#,
            r#"<http://elsewhere/wrong/path?last=b&n=2>; rel="next""#,
            r#"<?last=b&n=2>;rel=next"#,
            r#"</x?last=a>; rel="prev", </x?last=b&n=2>; REL = "next""#,
            r#"</x?last=b&n=2&>; title="a, b"; rel="last next""#,
            r#"</x?last=b&n=2#f>; rel="next""#,
        ] {
            assert_eq!(next(header).as_deref(), Some("last=b&n=2"), "{header}");
        }
    }

    #[test]
    fn no_next_page_ends_the_listing() {
        for header in [
            "",
            "nonsense",
            r#"</x?last=a>; rel="prev""#,
            r#"</x>; rel="next""#,
            r#"</x?>; rel="next""#,
            "</x?a b>; rel=next",
            "<x",
        ] {
            assert_eq!(next(header), None, "{header}");
        }
    }
}
