//! Strings that some reader of YAML takes for something else, and characters that some reader or
//! writer stumbles over. Most were found by feeding real helms (issue 1's lab), the rest by the
//! fuzzer.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Plain scalars that look like something else, and their neighbours that don't.
pub fn scalars() -> &'static [String] {
    static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
        let each_once: BTreeSet<String> = words().into_iter().chain(numbers()).collect();
        each_once.into_iter().collect()
    });
    &ALL
}

fn words() -> Vec<String> {
    let cases = |word: &str| {
        let title = word[..1].to_uppercase() + &word[1..];
        [
            word.to_owned(),
            title,
            word.to_uppercase(),
            word[..word.len() - 1].to_owned() + "_",
        ]
    };
    let words = [
        "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf",
    ];
    let plain = [
        "~", "<<", "=", "", " ", "-", "--", "---", "...", ".", "..", "?", "+", "_", "!", "!!str",
        "&a", "*a",
    ];
    let shaped = [
        "yEs", "oN", "none", "nil", "# no", "a: b", "a #b", "- a", "? a", "{a}", "[a]", "a,b",
        "%a", "@a", "`a",
    ];
    let quoted = [
        "'", "\"", "''", "\"\"", "'a'", "\"a\"", "\\", "\\n", "a\\", "|", ">", "|-", "a:", ":a",
        " a", "a ", "\ta", "a\t",
    ];
    let broken = [
        "\n", "a\n", "\na", "a\nb", "a\n\nb", "a\n b", "a\r\nb", "a\rb", "a\n", "a\n\n", "  a\n b",
        "\n\n a", "#\n",
    ];
    let lists = [&plain[..], &shaped, &quoted, &broken].concat();
    words
        .iter()
        .flat_map(|word| cases(word))
        .chain(lists.into_iter().map(str::to_owned))
        .collect()
}

fn numbers() -> Vec<String> {
    let decimal = "0 00 1 -1 +1 -0 1_000 1__0 1_ 0_ _1 -_1 +_0 1_000_000 08 09 012 064_ 0_7 1e3 1E3 1e+3 1e-3 1e1_0 69_00E5 \
                   2e_6 -75E-_9 .5 -.5 +.5 .7_7 ._5 .5_ .5e3 .5e1_0 .e3 5. 5._ 1.5 1._1 1_0.5 1_000.5 1.0.0 1.2.3 1.10 0.1 \
                   1e400 -1e400 .1e400 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 \
                   18446744073709551615 18446744073709551616 99999999999999999999999999 +18446744073709551615 95_20483 1e 1e+ e3";
    let based = "0x 0x1 0xF 0X1 0x_1 0x_f 0xfg 0x1p-2 0x1.8 -0x1 +0x1 0xffffffffffffffff 0x1ffffffffffffffff 0b 0b1 0b2 0B1 0b1_0 \
                 -0b1 +0b1 0b-1 0b+1 -0b-1 0b_ 0o 0o7 0o8 0O7 0o1_7 -0o7 0o-7 +0o7 017 -017 0778 0_1_7";
    let special = ".inf .Inf .INF -.inf +.inf -.Inf .iNf .nan .NaN .NAN -.nan +.nan .Nan inf NaN Infinity -Infinity";
    let sixty = "12:30 1:02 12:30:45 190:20:30 190:20:30.15 1:60 0:0 -1:30 1:02:03.5 1:2:3:4 12:30:99 1_2:30 60:00";
    let dates = "2021-01-01 2021-1-1 2021-13-01 2021-02-30 2021-01-01T00:00:00Z 2021-01-01t00:00:00z 2001-12-14t21:59:43.10-05:00 \
                 2021-01-01T00:00:00 2021-01-01T0:0:0Z 2021-01-01T00:00:00+1 02021-01-01 2021-01 2021-01-01- 2021_01-01";
    let spaced = [
        "2021-01-01 00:00:00",
        "2001-12-14 21:59:43.10 -5",
        "2021-01-01  00:00:00 Z",
        "2021-01-01 0:0:0",
        "1 000",
        "0x 1",
    ];
    let lists = [decimal, based, special, sixty, dates];
    let split = lists.into_iter().flat_map(str::split_ascii_whitespace);
    split.chain(spaced).map(str::to_owned).collect()
}

/// One of each kind that matters to YAML, JSON, Go or a terminal.
pub fn awkward_characters() -> &'static [char] {
    &[
        '\0',
        '\u{1}',
        '\u{7}',
        '\u{8}',
        '\t',
        '\n',
        '\u{b}',
        '\u{c}',
        '\r',
        '\u{1b}',
        '\u{1f}',
        ' ',
        '"',
        '\'',
        '\\',
        '/',
        ':',
        '#',
        ',',
        '{',
        '}',
        '[',
        ']',
        '&',
        '*',
        '!',
        '|',
        '>',
        '%',
        '@',
        '`',
        '<',
        '~',
        '\u{7f}',
        '\u{80}',
        '\u{84}',
        '\u{85}',
        '\u{86}',
        '\u{9f}',
        '\u{a0}',
        '\u{ad}',
        'é',
        'ß',
        '\u{300}',
        '\u{61c}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{2028}',
        '\u{2029}',
        '\u{202e}',
        '\u{2060}',
        '\u{3000}',
        '中',
        '\u{d7ff}',
        '\u{e000}',
        '\u{f8ff}',
        '\u{fdd0}',
        '\u{fdef}',
        '\u{feff}',
        '\u{fff9}',
        '\u{fffc}',
        '\u{fffd}',
        '\u{fffe}',
        '\u{ffff}',
        '\u{10000}',
        '😀',
        '\u{1fffe}',
        '\u{e0001}',
        '\u{f0000}',
        '\u{10fffd}',
        '\u{10ffff}',
    ]
}
