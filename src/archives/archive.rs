//! One chart archive: from its bytes to the chart's metadata and the archive's digest, in one pass.
//! The rules of what a file's place in the chart is, and of what is no chart, are Helm's
//! (pkg/chart/loader/archive/archive.go). The stream is unpacked to its end, because the checksum
//! there is all that tells a whole archive from one that is still being copied; but nothing of it
//! is kept except the metadata. What Helm refuses below that (a broken values.yaml or subchart)
//! isn't looked at.

use super::metadata::{MetadataFiles, check_lock};
use crate::helm::ChartMetadata;
use crate::helm::chart::MAX_CONFIG;
use crate::oci::{Digest, Hashing};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Read};
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// Most bytes of all files of a chart: Helm's `MaxDecompressedChartSize`.
const MAX_UNPACKED: u64 = 100 * 1024 * 1024;
/// Most bytes of the stream: those files, and a header for each of 100,000.
const MAX_STREAM: u64 = MAX_UNPACKED + 64 * 1024 * 1024;
/// Longest name of a file in an extended header, in bytes, other attributes included: what Go reads.
const MAX_EXTENDED_HEADER: u64 = 1024 * 1024;
/// The files that tell of the chart, or by which Helm refuses it.
const METADATA_FILES: [&str; 4] = [
    "Chart.yaml",
    "Chart.lock",
    "requirements.yaml",
    "requirements.lock",
];
/// How much is read from the file at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// What a chart archive holds.
pub(super) struct PackedChart {
    pub(super) name: String,
    pub(super) version: String,
    /// The config blob that `helm push` would make of it.
    pub(super) config: Vec<u8>,
    pub(super) digest: Digest,
    /// The length of what the digest names.
    pub(super) size: u64,
}

/// Why an archive isn't listed.
pub(super) struct Flaw {
    pub(super) why: String,
    /// Whether that says nothing of the archive, so that it's worth another attempt.
    pub(super) is_passing: bool,
}

impl From<String> for Flaw {
    fn from(why: String) -> Flaw {
        Flaw {
            why,
            is_passing: false,
        }
    }
}

impl From<&io::Error> for Flaw {
    fn from(error: &io::Error) -> Flaw {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof => "ends early: it may still be being copied".into(),
            _ if error.raw_os_error().is_some() => format!("can't be read: {error}"),
            _ => format!("is no whole .tgz: {error}"),
        };
        let is_refused = error.kind() == io::ErrorKind::PermissionDenied;
        Flaw {
            why,
            is_passing: error.raw_os_error().is_some() && !is_refused,
        }
    }
}

impl PackedChart {
    /// Reads an archive to its end.
    ///
    /// Errors with the reason when Helm would refuse it, and when it isn't whole.
    pub(super) fn read(file: impl Read) -> Result<PackedChart, Flaw> {
        let mut file = BufReader::with_capacity(BUFFER, Hashing::new(file));
        let unpacked = MultiGzDecoder::new(&mut file).take(MAX_STREAM);
        let (metadata, mut rest) = metadata(unpacked)?;
        io::copy(&mut rest, &mut io::sink()).map_err(|error| Flaw::from(&error))?;
        if rest.limit() == 0 {
            return Err(format!("unpacks to over {MAX_STREAM} bytes").into());
        }
        let config = metadata.finish()?;
        let metadata = ChartMetadata::parse(&config).map_err(|why| why.to_string())?;
        let (digest, size) = file.into_inner().finish();
        Ok(PackedChart {
            name: metadata.name,
            version: metadata.version,
            config,
            digest,
            size,
        })
    }
}

/// Reads the files that tell of the chart, and hands back what follows the last file.
fn metadata<R: Read>(unpacked: R) -> Result<(MetadataFiles, R), Flaw> {
    let mut archive = Archive::new(unpacked);
    let mut metadata = MetadataFiles::default();
    let (mut has_chart, mut requirements) = (false, Vec::new());
    let (mut unpacked_left, mut metadata_left) = (MAX_UNPACKED, MAX_CONFIG);
    let mut long_name = None;
    // Raw, for otherwise tar holds extended headers of any size in memory.
    let entries = archive.entries().map_err(|error| Flaw::from(&error))?;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(|error| Flaw::from(&error))?;
        match entry.header().entry_type() {
            EntryType::XHeader | EntryType::GNULongName => {
                long_name = extended_name(&mut entry)?.or(long_name);
                continue;
            }
            EntryType::XGlobalHeader | EntryType::GNULongLink => continue,
            EntryType::GNUSparse => return Err("holds a sparse file".to_owned().into()),
            _ => {}
        }
        let name = long_name.take();
        let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let kind = entry.header().as_bytes()[156];
        if kind == b'5' || (kind == 0 && name.ends_with(b"/")) {
            continue;
        }
        let place = place_in_chart(&String::from_utf8_lossy(&name))?;
        let left = unpacked_left.checked_sub(entry.size());
        unpacked_left = left.ok_or_else(|| format!("unpacks to over {MAX_UNPACKED} bytes"))?;
        if !METADATA_FILES.contains(&place.as_str()) {
            continue;
        }
        let left = metadata_left.checked_sub(entry.size());
        metadata_left = left.ok_or_else(|| format!("{place} is over {MAX_CONFIG} bytes"))?;
        let mut bytes = Vec::new();
        entry
            .read_to_end(&mut bytes)
            .map_err(|error| Flaw::from(&error))?;
        let bytes = without_bom(bytes);
        match place.as_str() {
            "Chart.yaml" => {
                metadata.chart(&bytes)?;
                has_chart = true;
            }
            // It counts after each Chart.yaml, wherever it stands.
            "requirements.yaml" => requirements.push(bytes),
            _ => check_lock(&bytes).map_err(|why| format!("{place} {why}"))?,
        }
    }
    if !has_chart {
        return Err("holds no Chart.yaml in its folder".to_owned().into());
    }
    for bytes in requirements {
        metadata.requirements(&bytes)?;
    }
    Ok((metadata, archive.into_inner()))
}

/// The name that an extended header, GNU's or POSIX's, gives to the file behind it.
fn extended_name(entry: &mut Entry<'_, impl Read>) -> Result<Option<Vec<u8>>, Flaw> {
    if entry.size() > MAX_EXTENDED_HEADER {
        return Err(format!("has a header of over {MAX_EXTENDED_HEADER} bytes").into());
    }
    let mut bytes = Vec::new();
    entry
        .read_to_end(&mut bytes)
        .map_err(|error| Flaw::from(&error))?;
    if entry.header().entry_type() == EntryType::GNULongName {
        bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
        return Ok(Some(bytes));
    }
    let mut name = None;
    for extension in PaxExtensions::new(&bytes).flatten() {
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            // It would have to be believed rather than the header's, of a file beyond any bound.
            b"size" => return Err("holds a file with an extended size".to_owned().into()),
            _ => {}
        }
    }
    Ok(name)
}

/// Where Helm sees a file of an archive: below its first folder, which may have any name.
fn place_in_chart(name: &str) -> Result<String, String> {
    let illegal = || Err(format!("illegally holds a file named {name:?}"));
    let delimiter = if name.contains('\\') { '\\' } else { '/' };
    let (folder, inner) = name.split_once(delimiter).unwrap_or((name, ""));
    let inner = inner.replace(delimiter, "/");
    if inner.starts_with('/') || folder == "Chart.yaml" {
        return illegal();
    }
    // Go's `path.Clean`.
    let mut parts: Vec<&str> = Vec::new();
    for part in inner.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let place = parts.join("/");
    let is_drive =
        matches!(place.as_bytes(), [letter, b':', b'/', ..] if letter.is_ascii_alphabetic());
    if place.is_empty() || place.starts_with("..") || is_drive {
        return illegal();
    }
    Ok(place)
}

fn without_bom(bytes: Vec<u8>) -> Vec<u8> {
    match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => rest.to_vec(),
        None => bytes,
    }
}
