//! The one style sheet of all pages: the system's fonts, dark and light as the browser wishes, and no image.
//! A test tells the hash that the policy must name when it changes.

/// The style sheet.
#[rustfmt::skip]
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1f2328;--faint:#59636e;--line:#d8dee4;--link:#0a54b5;--block:#f4f6f8;--good:#0b5a2d;--bad:#8a3a00}
@media(prefers-color-scheme:dark){:root{--back:#12161b;--text:#e4e9ef;--faint:#a3adb8;--line:#333b45;--link:#86b7ff;--block:#1c222a;--good:#7fd7a1;--bad:#ffb27a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:0 1rem;background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
header,footer{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;align-items:baseline;padding:.85rem 0}
header{border-bottom:1px solid var(--line)}
header a,header strong{color:inherit;text-decoration:none;font-weight:700}
footer{margin-top:2.5rem;border-top:1px solid var(--line);color:var(--faint);font-size:.875rem}
footer p{margin:0}
h1{font-size:1.75rem;line-height:1.25;margin:1.75rem 0 .5rem}
h2{font-size:1.125rem;margin:2rem 0 .5rem}
p{margin:.5rem 0}
pre{margin:.5rem 0;padding:.65rem .85rem;background:var(--block);border:1px solid var(--line);border-radius:6px;white-space:pre-wrap}
code{font:.875rem/1.5 ui-monospace,monospace;user-select:all}
form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin:1.25rem 0}
input,button{font:inherit;color:inherit;background:var(--back);border:1px solid var(--faint);border-radius:6px;padding:.35rem .65rem;min-width:0}
input{flex:1 1 8rem;max-width:26rem}
button{background:var(--block);cursor:pointer}
table{width:100%;border-collapse:collapse}
caption{text-align:left;color:var(--faint);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;font-weight:400;padding:.5rem 1rem .5rem 0;border-bottom:1px solid var(--line)}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--faint);font-size:.875rem;overflow-wrap:normal}
tbody th>a{font-weight:600}
th p{margin:.1rem 0 0;color:var(--faint)}
td.date{white-space:nowrap}
td.version{min-width:5.5rem}
dl{display:grid;grid-template-columns:minmax(6rem,max-content) 1fr;gap:.35rem 1.25rem;margin:.5rem 0}
dt{color:var(--faint)}
dd{margin:0;min-width:0}
dd ul{display:flex;flex-wrap:wrap;gap:0 1.25rem;margin:0;padding:0;list-style:none}
dd li{min-width:0}
.faint{color:var(--faint)}
.badge{display:inline-block;font-size:.75rem;line-height:1.4;padding:0 .45rem;border:1px solid;border-radius:1rem;color:var(--good)}
.old{color:var(--bad)}
.pages{display:flex;gap:1.25rem;margin:1rem 0}
@media(max-width:36rem){th,td{padding-right:.6rem}.wide{display:none}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}
";
