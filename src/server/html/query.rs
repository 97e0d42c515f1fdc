//! What a query asks for, as a form sends it (WHATWG URL, `application/x-www-form-urlencoded`). Pure.

use super::super::route::{BadTarget, percent_decoded};

/// The value of a parameter, if there is one.
///
/// Errors when it is not UTF-8, or holds control characters: a page has gaps that are marked by such ones.
pub(super) fn text(target: &str, name: &str) -> Result<Option<String>, BadTarget> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name);
    let value = values.next();
    let value = value.map(|(_, value)| percent_decoded(&value.replace('+', " ")));
    match value.transpose()? {
        Some(text) if text.contains(char::is_control) => Err(BadTarget("a control character")),
        text => Ok(text),
    }
}

/// The same as a number.
pub(super) fn number(target: &str, name: &str) -> Result<Option<usize>, BadTarget> {
    let not_one = |_| BadTarget("it is not a number");
    let text = text(target, name)?;
    text.map(|text| text.parse().map_err(not_one)).transpose()
}
