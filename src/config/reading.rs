//! How the value of a flag is read. A value that can't be read is a mistake that names its flag.

use super::quantity::{duration, typed};
use crate::args::{Args, Mistake};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// That a flag has this value, and why it can't.
pub(super) fn mistake(flag: &str, value: &str, why: impl Display) -> Mistake {
    format!("{flag} {value:?}: {why}")
}

/// What a flag says, as `read` understands its value; `None` if it wasn't given.
pub(super) fn read<T, E: Display>(
    args: &Args,
    flag: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Mistake> {
    let read = |text| read(text).map_err(|why| mistake(flag, text, why));
    args.value(flag).map(read).transpose()
}

/// What a flag says, parsed.
pub(super) fn parsed<T: FromStr<Err: Display>>(
    args: &Args,
    flag: &str,
) -> Result<Option<T>, Mistake> {
    read(args, flag, str::parse)
}

/// The same of a flag that may be given more than once.
pub(super) fn all_parsed<T: FromStr<Err: Display>>(
    args: &Args,
    flag: &str,
) -> Result<Vec<T>, Mistake> {
    let parse = |text: &String| text.parse().map_err(|why| mistake(flag, text, why));
    args.values(flag).iter().map(parse).collect()
}

/// A time of at most `longest`.
pub(super) fn time(
    args: &Args,
    flag: &str,
    longest: Duration,
) -> Result<Option<Duration>, Mistake> {
    read(args, flag, |text| match duration(text)? {
        time if time > longest => Err(format!("longer than {}", typed(longest))),
        time => Ok(time),
    })
}

/// What the given word stands for; the first one without it.
pub(super) fn one_of<T: Copy>(args: &Args, flag: &str, words: &[(&str, T)]) -> Result<T, Mistake> {
    let meaning = |given: &str| words.iter().find(|(word, _)| *word == given);
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let why = format!("not one of: {}", names.join(", "));
    let given = read(args, flag, |text| meaning(text).ok_or(&why))?;
    Ok(given.unwrap_or(&words[0]).1)
}
