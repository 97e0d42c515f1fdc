//! One chart archive: from its bytes to the chart's metadata and the archive's digest, in one pass.
//! Which file of an archive is which file of the chart, and what makes it no chart, are Helm's rules
//! (Helm 4.3, pkg/chart/loader/archive/archive.go). Nothing but the metadata is ever held in memory.
//! A broken values.yaml or subchart, for which Helm refuses an archive, isn't noticed.

use super::metadata::{MetadataFiles, check_lock};
use crate::helm::ChartMetadata;
use crate::helm::chart::MAX_CONFIG;
use crate::oci::{Digest, Hashing};
use crate::storage::{Error, ErrorKind, Result};
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Read};
use tar::{Archive, Entry, EntryType, PaxExtensions};

/// Most bytes of an archive, and most that it may unpack to: Helm's `MaxDecompressedChartSize`. Helm
/// counts the files alone; here the headers between them count too.
pub(crate) const MAX_UNPACKED: u64 = 100 * 1024 * 1024;
/// Largest extended header, in bytes: Go's limit.
const MAX_EXTENDED_HEADER: u64 = 1024 * 1024;
/// The files that hold metadata, or for which Helm refuses a chart if they don't parse.
const METADATA_FILES: [&str; 4] = [
    "Chart.yaml",
    "Chart.lock",
    "requirements.yaml",
    "requirements.lock",
];
/// How much is read from a file at a time, in bytes.
const BUFFER: usize = 64 * 1024;

/// What a chart archive holds.
pub(super) struct PackedChart {
    pub(super) name: String,
    pub(super) version: String,
    /// The config blob that `helm push` would make of it.
    pub(super) config: Vec<u8>,
    pub(super) digest: Digest,
    /// The length of the archive, in bytes.
    pub(super) size: u64,
}

impl PackedChart {
    /// Reads an archive to its end, because only the checksum there tells a whole archive from one that
    /// is still being copied; that unpacks at most [`MAX_UNPACKED`] bytes, once for each state of a file.
    ///
    /// Errors with the reason when it isn't whole, and when Helm would refuse it.
    pub(super) fn read(file: &mut dyn Read) -> Result<PackedChart> {
        let mut file = BufReader::with_capacity(BUFFER, Hashing::new(file));
        let mut unpacked = MultiGzDecoder::new(&mut file).take(MAX_UNPACKED + 1);
        let metadata = read_metadata(&mut unpacked).and_then(|metadata| {
            io::copy(&mut unpacked, &mut io::sink()).map_err(unreadable)?;
            Ok(metadata)
        });
        if unpacked.limit() == 0 {
            return Err(broken(format!("unpacks to over {MAX_UNPACKED} bytes")));
        }
        let config = metadata?.into_config().map_err(broken)?;
        let metadata = ChartMetadata::parse(&config).map_err(|why| broken(why.to_string()))?;
        let (digest, size) = file.into_inner().finish();
        Ok(PackedChart {
            name: metadata.name().to_owned(),
            version: metadata.version().to_owned(),
            config,
            digest,
            size,
        })
    }
}

/// The error of an archive that another attempt would find as it is. The reason may be shown to anyone.
pub(super) fn broken(why: impl Into<String>) -> Error {
    failure(ErrorKind::Invalid, why.into())
}

/// The error of an archive that can't be read to its end.
pub(super) fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        _ if error.raw_os_error().is_some() => failure(ErrorKind::Unavailable, error.to_string()),
        io::ErrorKind::UnexpectedEof => broken("ends early: it may still be being copied"),
        _ => broken(format!("is no whole .tgz: {error}")),
    }
}

fn failure(kind: ErrorKind, why: String) -> Error {
    Error::new(kind, &why).with_public(why)
}

/// Reads the files that hold metadata, and stops at the end of the tar stream.
fn read_metadata(unpacked: impl Read) -> Result<MetadataFiles> {
    let mut archive = Archive::new(unpacked);
    let mut files = ChartFiles::default();
    let mut long_name = None;
    // Raw, because otherwise tar holds extended headers of any size in memory.
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        match entry.header().entry_type() {
            EntryType::XHeader | EntryType::GNULongName => {
                long_name = extended_name(&mut entry)?.or(long_name);
                continue;
            }
            EntryType::XGlobalHeader | EntryType::GNULongLink => continue,
            EntryType::GNUSparse => return Err(broken("holds a sparse file")),
            _ => {}
        }
        let name = long_name.take();
        let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
        // Go's archive/tar tells folders so.
        let kind = entry.header().as_bytes()[156];
        if kind == b'5' || (kind == 0 && name.ends_with(b"/")) {
            continue;
        }
        let place = place_in_chart(&String::from_utf8_lossy(&name)).map_err(broken)?;
        if METADATA_FILES.contains(&place.as_str()) {
            files.read(&place, &mut entry)?;
        }
    }
    files.finish()
}

/// The files that hold metadata, as far as they have been read.
#[derive(Default)]
struct ChartFiles {
    metadata: MetadataFiles,
    has_chart: bool,
    /// They count after every Chart.yaml, wherever they stand.
    requirements: Vec<Vec<u8>>,
    bytes: u64,
}

impl ChartFiles {
    fn read(&mut self, place: &str, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > MAX_CONFIG {
            return Err(broken(format!("{place} is over {MAX_CONFIG} bytes")));
        }
        let bytes = content(entry)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match place {
            "Chart.yaml" => {
                self.has_chart = true;
                self.metadata.read_chart(bytes).map_err(broken)
            }
            "requirements.yaml" => {
                self.requirements.push(bytes.to_vec());
                Ok(())
            }
            _ => check_lock(bytes).map_err(|why| broken(format!("{place} {why}"))),
        }
    }

    fn finish(mut self) -> Result<MetadataFiles> {
        if !self.has_chart {
            return Err(broken("holds no Chart.yaml in its folder"));
        }
        for bytes in &self.requirements {
            self.metadata.read_requirements(bytes).map_err(broken)?;
        }
        Ok(self.metadata)
    }
}

fn content(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The name that an extended header, GNU's or POSIX's, gives to the file behind it.
fn extended_name(entry: &mut Entry<'_, impl Read>) -> Result<Option<Vec<u8>>> {
    if entry.size() > MAX_EXTENDED_HEADER {
        let why = format!("has a header of over {MAX_EXTENDED_HEADER} bytes");
        return Err(broken(why));
    }
    let mut bytes = content(entry)?;
    if entry.header().entry_type() == EntryType::GNULongName {
        bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
        return Ok(Some(bytes));
    }
    let mut name = None;
    for extension in PaxExtensions::new(&bytes).flatten() {
        match extension.key_bytes() {
            b"path" => name = Some(extension.value_bytes().to_vec()),
            // Only a file of over 8 GiB needs one; for any other the header's size would be wrong.
            b"size" => return Err(broken("holds a file with an extended size")),
            _ => {}
        }
    }
    Ok(name)
}

/// The path of a file in the chart: below the first folder of the archive, which may have any name.
fn place_in_chart(name: &str) -> Result<String, String> {
    let delimiter = if name.contains('\\') { '\\' } else { '/' };
    let (folder, inner) = name.split_once(delimiter).unwrap_or((name, ""));
    let inner = inner.replace(delimiter, "/");
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
    let is_outside = inner.starts_with('/') || place.starts_with("..") || is_drive;
    if place.is_empty() || is_outside || folder == "Chart.yaml" {
        return Err(format!("illegally holds a file named {name:?}"));
    }
    Ok(place)
}
