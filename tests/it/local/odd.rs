//! Odd Chart.yaml files, and odd archives around plain ones. `NAME` stands for a name that is given
//! to each, so that all fit into one folder.

use crate::support::folder::{gzipped, header, packed, tarred};

pub const PLAIN: &str = "apiVersion: v2\nname: NAME\nversion: 1.0.0\n";
const V1: &str = "apiVersion: v1\nname: NAME\nversion: 1.0.0\n";

/// Plain scalars that YAML 1.1, YAML 1.2 or Go take for something else, or that look so.
const SCALARS: &str = "1.10 yes Yes no y n on OFF true 0x10 0X1F -0x1F 0o17 0O17 017 08 0o8 00 0b11 0B1 \
    -0b11 0b-1 0b12 1_000 1_0.5 0_8 12:30 1:02:03.5 190:20:30 2021-01-01 2001-12-14t21:59:43.10-05:00 1e3 1e6 \
    1E400 1e-7 1e21 6.02e+23 .5 .5_5 1. 1.e3 +1 -1 +1.5 -0 -0.0 0 0.1 1.0 123456789.123 123456.789 \
    18446744073709551615 18446744073709551616 99999999999999999999 9223372036854775808 +.inf -.inf .nan .NaN ~ \
    null Null << = . + - 0x 0xg 1e .e1 0x1p4 1.2.3 v1 none";

/// What follows a Chart.yaml that is well otherwise.
const ENDINGS: [&str; 116] = [
    "appVersion: !!str 1.10\n",
    "appVersion: !!int \"5\"\n",
    "appVersion: !!int 1.5\n",
    "appVersion: !!float 1\n",
    "appVersion: !!bool \"yes\"\n",
    "appVersion: !!null x\n",
    "appVersion: !!timestamp 2021-01-01\n",
    "appVersion: !foo 1.10\n",
    "appVersion: ! 12\n",
    "description: !!binary aGVsbG8=\n",
    "annotations: !!map {a: b}\n",
    "description: a\ndescription: b\n",
    "Description: a\nDESCRIPTION: b\n",
    "description: a\nDescription: b\nappversion: 3\n",
    "description: [a]\n",
    "description: {a: b}\n",
    "home: [a]\n",
    "deprecated: \"true\"\n",
    "deprecated: yes\n",
    "deprecated: off\n",
    "deprecated: 1\n",
    "deprecated: ~\n",
    "keywords: [a, ~, 1, true, 1.50, on, 0x1f]\n",
    "keywords: a\n",
    "keywords: [[a]]\n",
    "keywords: [a,\n b,\n c]\n",
    "keywords: [a,]\n",
    "keywords: [a,,b]\n",
    "sources:\n- http://a\n-\n- 'b'\n",
    "maintainers: [~]\n",
    "maintainers: [a]\n",
    "maintainers: {name: a}\n",
    "maintainers:\n- name: 1\n  email: yes\n  url: 1.10\n  x: y\n- {}\n",
    "annotations:\n  on: 1\n  1.10: yes\n  0x10: a\n  b: ~\n  2021-01-01: 2021-01-01\n  12345678901.5: c\n  1e100: d\n",
    "annotations: {123456.789: a, 0.1: b, 1e7: c, 16777217.0: d, 1e21: e}\n",
    "annotations: {~: x}\n",
    "annotations: {a: {b: c}}\n",
    "annotations: {a: [b]}\n",
    "annotations: [a]\n",
    "annotations: {[a]: b}\n",
    "annotations:\n  <<: {a: b}\n  c: d\n",
    "x: &x {description: a, home: h}\ndescription: b\n<<: *x\n",
    "x: &x {description: a, home: h}\n<<: *x\ndescription: b\n",
    "x: &x {description: a}\nz: &z {description: c, icon: i}\n<<: [*x, *z]\n",
    "<<: a\n",
    "<<: [a]\n",
    "\"<<\": {home: h}\n",
    "!!merge <<: {home: h}\n",
    "description: &d hello\nhome: *d\n",
    "a: &a {name: m}\nmaintainers: [*a, *a]\n",
    "a: &a home\n*a : h\n",
    "a: &a x\nb: &a z\nhome: *a\n",
    "home: *nope\n",
    "x: &x [*x]\n",
    "description:\ta\n",
    "description: a\t\n",
    "\tdescription: a\n",
    "annotations:\n\ta: b\n",
    "---\napiVersion: v2\nname: second\nversion: 2.0.0\n",
    "---\n: : : [\n",
    "...\nmore: [\n",
    "]\n",
    "  home: h\n",
    "description: |\n  line one\n  line two\n\n  tab\there\n",
    "description: >-\n  line one\n  line two\n\n  paragraph\n",
    "description: |+\n  kept\n\n",
    "description: a\n  b\n  c\n",
    "description: \"a\\u200bb\\u00a0c\\u2028d\\x07e\\ue000f \\u0301g \\U0001F600 \\u00ad\"\n",
    "keywords: [\"a\\u200bb\"]\nannotations: {\"a\\u200b\": \"b\\u200b\\nc\"}\nappVersion: \"1\\n2\"\n",
    "description: caf\u{e9} \u{4e2d}\u{6587}\nappVersion: yes\nhome: no\n",
    "description: \u{1f600}\n",
    "description: \"a\\0b\"\n",
    "description: a\u{1}b\n",
    "description: a\u{7f}b\n",
    "description: a\u{85}home: h\n",
    "description: a\u{2028}  b\n",
    "description: a: b\n",
    "description: a #b\n",
    "description: %a\n",
    "description: @a\n",
    "description: `a`\n",
    "description: 'it''s'\nhome: \"a\\\n  b\"\n",
    "? description\n: a\n",
    "name : other-NAME\n",
    "description: \"\"\nhome:\nsources: []\nkeywords:\nannotations: {}\nmaintainers: []\n",
    "appVersion: |-\n  1.10\nhome: \"yes\"\nicon: '0x10'\n",
    "type: library\n",
    "type: application\n",
    "type: \"\"\n",
    "type: weird\n",
    "type: 1\n",
    "kubeVersion: 1.20\n",
    "kubeVersion: \">=1.20-0\"\n",
    "tags: a,b\ncondition: x.y\n",
    "tags: [a]\n",
    "foo: bar\nurls: [a]\ndigest: x\ncreated: y\nremoved: true\ntillerVersion: 1\nengine: gotpl\n",
    "dependencies:\n- name: a\n  version: 1\n  repository: \"\"\n  tags: [1, yes]\n  enabled: yes\n  \
        import-values: [data, {child: c, parent: p}]\n  alias: x\n  condition: a.b\n",
    "dependencies: [{name: a, version: 1.10, repository: 'http://r'}, {name: b, version: ~1, repository: @r}]\n",
    "dependencies: [{Name: a, Import-Values: [x]}]\n",
    "dependencies: [{}]\n",
    "dependencies: [~]\n",
    "dependencies: a\n",
    "dependencies: [a]\n",
    "dependencies: [{name: a, alias: \"b c\"}]\n",
    "dependencies: [{name: a}, {name: a}]\n",
    "dependencies: [{name: a, alias: b}, {name: b}]\n",
    "dependencies: [{name: a, alias: b}, {name: a, alias: c}]\n",
    "dependencies: [{name: a, tags: b}]\n",
    "dependencies: [{name: a, enabled: 'yes'}]\n",
    "apiVersion: v3\n",
    "apiVersion: 1\n",
    "apiVersion: \"\"\n",
    "version: 2.0.0+b.1\n",
    "icon: data:image/svg+xml;base64,AAAA\n",
    "home: https://a.example/?b=c&d=e#f\n",
    "# a comment\n",
];

/// Whole files.
const FILES: [&str; 35] = [
    "",
    "# nothing\n",
    "- a\n",
    "abc",
    "---\napiVersion: v2\nname: NAME\nversion: 1.0.0\n",
    "---\n---\napiVersion: v2\nname: NAME\nversion: 1.0.0\n",
    "%YAML 1.1\n---\napiVersion: v2\nname: NAME\nversion: 1.0.0\n",
    "%YAML 1.2\n---\napiVersion: v2\nname: NAME\nversion: 1.0.0\n",
    "{\"apiVersion\":\"v2\",\"name\":\"NAME\",\"version\":\"1.0.0\",\"description\":\"\\u00e9\"}",
    "{\"apiVersion\":\"v2\",\"name\":\"NAME\",\"version\":\"1.0.0\",\"description\":\"\\ud83d\\ude00\"}",
    "name: NAME\nversion: 1.0.0\n",
    "apiVersion: v2\nname: NAME\n",
    "apiVersion: v2\nversion: 1.0.0\n",
    "apiVersion: v2\nname: NAME\nversion: 1\n",
    "apiVersion: v2\nname: NAME\nversion: 1.10\n",
    "apiVersion: v2\nname: NAME\nversion: 0x10\n",
    "apiVersion: v2\nname: NAME\nversion: v1.2\n",
    "apiVersion: v2\nname: NAME\nversion: 01.02.03\n",
    "apiVersion: v2\nname: NAME\nversion: 1.2.3.4\n",
    "apiVersion: v2\nname: NAME\nversion: latest\n",
    "apiVersion: v2\nname: NAME\nversion: yes\n",
    "apiVersion: v2\nname: NAME\nversion: 1.0.0-01\n",
    "apiVersion: v2\nname: NAME\nversion: 1.0.0-rc.1+b.2\n",
    "apiVersion: v2\nname: NAME\nversion: 1e3\n",
    "apiVersion: v2\nname: \"NAME\\nb\"\nversion: 1.0.0\n",
    "apiVersion: v2\nname: \"NAME\\u200bb\"\nversion: 1.0.0\n",
    "apiVersion: v2\nname: Upper_Case.NAME\nversion: 1.0.0\n",
    "apiVersion: v2\nname: a/NAME\nversion: 1.0.0\n",
    "apiVersion: v2\nname: 123\nversion: 1.0.0\n",
    "apiVersion: v2\nname: -NAME\nversion: 1.0.0\n",
    "\u{feff}apiVersion: v2\nname: NAME\nversion: 1.0.0\n",
    "\u{feff}\u{feff}apiVersion: v2\nname: NAME\nversion: 1.0.0\n",
    "apiVersion: v2\r\nname: NAME\r\nversion: 1.0.0\r\ndescription: |\r\n  a\r\n  b\r\nappVersion: yes\r\n",
    "apiVersion: v2\rname: NAME\rversion: 1.0.0\rhome: h\r",
    "apiVersion: v2\nname: NAME\nversion: 1.0.0",
];

/// What ends a Chart.yaml of `apiVersion: v1`, the requirements.yaml beside it, and its lock.
const REQUIREMENTS: [(&str, &str, Option<&str>); 20] = [
    (
        "",
        "dependencies:\n- name: a\n  version: 1.10\n  repository: http://x\n",
        None,
    ),
    (
        "dependencies: [{name: a, alias: x, tags: [t]}, {name: c}]\n",
        "dependencies: [{name: b}]\n",
        None,
    ),
    ("dependencies: [{name: a}]\n", "dependencies: ~\n", None),
    ("dependencies: [{name: a}]\n", "dependencies: []\n", None),
    ("dependencies: [{name: a}]\n", "dependencies: [~]\n", None),
    ("", "description: over\nname: renamed-NAME\n", None),
    ("apiVersion: v2\n", "dependencies: [{name: a}]\n", None),
    ("apiVersion:\n", "dependencies: [{name: a}]\n", None),
    ("", "dependencies: a\n", None),
    ("", "[", None),
    ("", "", None),
    (
        "",
        "\u{feff}dependencies: [{name: a, enabled: on}]\r\n",
        None,
    ),
    ("", "dependencies: [{name: a}]\n", Some("dependencies: [")),
    (
        "",
        "dependencies: [{name: a}]\n",
        Some(
            "dependencies: [{name: a, version: 1.0.0}]\ndigest: x\ngenerated: \"2020-01-01T00:00:00Z\"\n",
        ),
    ),
    (
        "",
        "dependencies: [{name: a}]\n",
        Some("generated: nonsense\n"),
    ),
    (
        "",
        "dependencies: [{name: a}]\n",
        Some("generated: 2020-01-01T00:00:00.5+01:00\n"),
    ),
    (
        "annotations: {a: b}\nmaintainers: [{name: k},{name: m}]\nkeywords: [x, z]\n",
        "annotations: {b: c}\nmaintainers: [{email: e}]\nkeywords: [w]\n",
        None,
    ),
    (
        "deprecated: true\ndescription: d\nhome: h\n",
        "deprecated: false\ndescription: \"\"\nhome: ~\n",
        None,
    ),
    (
        "keywords: [x, z]\nannotations: {a: b}\n",
        "keywords: [~, b]\nannotations: {a: ~}\n",
        None,
    ),
    ("", "- a\n", None),
];

/// Archives, by the names of their files. Each file that may be read as a Chart.yaml is one.
const SHAPES: [&[&str]; 21] = [
    &["./c/Chart.yaml"],
    &["./Chart.yaml"],
    &["Chart.yaml"],
    &["/c/Chart.yaml"],
    &["c//Chart.yaml"],
    &["c/./Chart.yaml"],
    &["c/x/../Chart.yaml"],
    &["c\\Chart.yaml"],
    &["c/chart.yaml"],
    &["c/values.yaml"],
    &["c/Chart.yaml", "c/../x"],
    &["c/Chart.yaml", "c/../../x"],
    &["c/Chart.yaml", "c/..x"],
    &["c/Chart.yaml", "c/c:/x"],
    &["c/Chart.yaml", "c/c:x"],
    &["c", "c/Chart.yaml"],
    &["c/Chart.yaml", "Chart.yaml/x"],
    &["a/Chart.yaml", "b/Chart.yaml"],
    &["c/templates/Chart.yaml", "c/x/Chart.yaml", "c/Chart.yaml"],
    &["c/Chart.yaml", "c/", "c/x/"],
    &[],
];

/// Puts an archive's name into a text.
type Naming<'a> = dyn Fn(&str) -> String + 'a;

/// Name and bytes of each archive.
pub fn archives() -> Vec<(String, Vec<u8>)> {
    let mut archives = Vec::new();
    let mut add = |bytes: &dyn Fn(&Naming) -> Vec<u8>| {
        let name = format!("odd-{:03}", archives.len());
        let named = bytes(&|text| text.replace("NAME", &name));
        archives.push((name, named));
    };
    let mut chart = |text: String| {
        add(&|named| packed(&[("c/Chart.yaml", named(&text).as_bytes())]));
    };
    for scalar in SCALARS.split_whitespace() {
        chart(format!(
            "{PLAIN}appVersion: {scalar}\ndescription: \"{scalar}\"\nhome: '{scalar}'\n"
        ));
        chart(format!(
            "{PLAIN}keywords: [{scalar}]\nannotations: {{a: {scalar}}}\n"
        ));
    }
    ENDINGS
        .iter()
        .for_each(|ending| chart(format!("{PLAIN}{ending}")));
    FILES.iter().for_each(|text| chart((*text).to_owned()));
    for (ending, requirements, lock) in REQUIREMENTS {
        add(&|named| {
            let (chart, requirements) = (named(&format!("{V1}{ending}")), named(requirements));
            let mut files = vec![
                ("c/requirements.yaml", requirements.as_bytes()),
                ("c/Chart.yaml", chart.as_bytes()),
            ];
            files.extend(lock.map(|lock| ("c/requirements.lock", lock.as_bytes())));
            packed(&files)
        });
    }
    for names in SHAPES {
        add(&|named| {
            let chart = named(PLAIN);
            let of = |name: &str| {
                if name.ends_with('/') {
                    ""
                } else {
                    chart.as_str()
                }
            };
            let files = names.iter().map(|name| (*name, of(name).as_bytes()));
            packed(&files.collect::<Vec<_>>())
        });
    }
    for shape in [
        in_utf16,
        in_members,
        without_an_end,
        with_pax_headers,
        with_links,
        with_a_large_file,
        latin,
    ] {
        add(&|named| shape(named(PLAIN).as_bytes()));
    }
    archives
}

fn in_utf16(chart: &[u8]) -> Vec<u8> {
    let text = format!("\u{feff}{}", String::from_utf8_lossy(chart));
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    packed(&[("c/Chart.yaml", &bytes)])
}

fn in_members(chart: &[u8]) -> Vec<u8> {
    let tar = tarred(&[("c/Chart.yaml", chart)]);
    let (first, second) = tar.split_at(700);
    [gzipped(first), gzipped(second)].concat()
}

fn without_an_end(chart: &[u8]) -> Vec<u8> {
    gzipped(&tarred(&[("c/Chart.yaml", chart)])[..1024])
}

fn latin(chart: &[u8]) -> Vec<u8> {
    packed(&[("c/Chart.yaml", &[chart, b"description: caf\xe9\n"].concat())])
}

fn with_pax_headers(chart: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, bytes: &[u8]| {
        let mut header = header(name, bytes.len());
        header.set_entry_type(kind);
        header.set_cksum();
        archive.append(&header, bytes).expect("a vector takes all");
    };
    add(tar::EntryType::XGlobalHeader, "pax", b"18 comment=global\n");
    add(
        tar::EntryType::GNULongName,
        "long",
        format!("c/{}\0", "x".repeat(200)).as_bytes(),
    );
    add(tar::EntryType::Regular, "short", b"1");
    add(
        tar::EntryType::XHeader,
        "pax",
        b"21 path=c/Chart.yaml\n13 mtime=1.5\n",
    );
    add(tar::EntryType::Regular, "x", chart);
    gzipped(&archive.into_inner().expect("a vector takes all"))
}

/// The largest file that Helm 3.17 takes is 5 MiB. Helm 4 takes larger ones, and so do we.
fn with_a_large_file(chart: &[u8]) -> Vec<u8> {
    packed(&[("c/Chart.yaml", chart), ("c/x", &vec![0; 5 << 20])])
}

fn with_links(chart: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append(&header("c/Chart.yaml", chart.len()), chart)
        .expect("a vector takes all");
    use tar::EntryType::{Char, Directory, Fifo, Link, Symlink};
    for kind in [Symlink, Link, Fifo, Char, Directory] {
        let mut header = header("c/other", 0);
        header.set_entry_type(kind);
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        header.set_cksum();
        archive
            .append(&header, &[][..])
            .expect("a vector takes all");
    }
    gzipped(&archive.into_inner().expect("a vector takes all"))
}
