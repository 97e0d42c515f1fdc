//! Packs chart directories into `.tgz` files in a folder, as `helm package` would, or into an OCI image
//! layout, as `helm push` would, but with nothing except cargo on the machine: the first half of
//! `make run`. The same sources give the same bytes, wherever and whenever they are packed.
//!
//! Usage: `pack-demo CHARTS... FOLDER`, or `pack-demo --layout CHARTS... LAYOUT`; the last is replaced.

use flate2::Compression;
use flate2::write::GzEncoder;
use oci_chartrepo::helm::ChartMetadata;
use oci_chartrepo::helm::chart::{ARCHIVE_TYPE, CONFIG_TYPE};
use oci_chartrepo::oci::Digest;
use serde_json::{Value, json};
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The date of everything that is packed, 2026-01-01 in Unix seconds: a date of its own would
/// give each packing another digest.
const PACKED_AT: u32 = 1_767_225_600;
/// Versions before the one in Chart.yaml, so that there's something to choose from: name, version,
/// appVersion.
const EARLIER: [(&str, &str, &str); 1] = [("web", "1.0.0", "1.27")];
/// What a dependency's repository starts with if it is the directory of another chart.
const BESIDE: &str = "file://";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let done = match arguments.as_slice() {
        [option, charts @ .., layout] if option.as_os_str() == "--layout" => {
            pack(charts, layout, write_layout)
        }
        [charts @ .., folder] if !charts.is_empty() => pack(charts, folder, write_archives),
        _ => Err("usage: pack-demo [--layout] CHARTS... TARGET".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pack-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Fills a new directory beside the old one before it takes its place: a daemon that is reading it
/// never sees half of it.
fn pack(
    folders: &[PathBuf],
    target: &Path,
    write: fn(&Path, &[Chart]) -> Result<()>,
) -> Result<()> {
    let fresh = target.with_extension("part");
    remove(&fresh)?;
    fs::create_dir_all(&fresh)?;
    let mut charts = Vec::new();
    for folder in folders {
        charts.extend(all_versions(folder)?);
    }
    write(&fresh, &charts)?;
    remove(target)?;
    Ok(fs::rename(&fresh, target)?)
}

fn all_versions(charts: &Path) -> Result<Vec<Chart>> {
    let mut all = Vec::new();
    for directory in files_of(charts)? {
        let chart = Chart::read(&directory)?;
        for (_, version, app_version) in EARLIER
            .iter()
            .filter(|(name, ..)| *name == chart.metadata.name())
        {
            let mut fields = chart.fields.clone();
            fields["version"] = (*version).into();
            fields["appVersion"] = (*app_version).into();
            all.push(Chart::new(&directory, fields)?);
        }
        all.push(chart);
    }
    Ok(all)
}

/// Each chart as `NAME-VERSION.tgz`, of one date.
fn write_archives(folder: &Path, charts: &[Chart]) -> Result<()> {
    for chart in charts {
        let metadata = &chart.metadata;
        let name = format!("{}-{}.tgz", metadata.name(), metadata.version());
        let mut file = fs::File::create(folder.join(name))?;
        file.write_all(&chart.archive()?)?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(PACKED_AT.into()))?;
    }
    Ok(())
}

fn write_layout(directory: &Path, charts: &[Chart]) -> Result<()> {
    let mut layout = Layout {
        directory: directory.to_owned(),
        manifests: Vec::new(),
    };
    charts.iter().try_for_each(|chart| layout.add(chart))?;
    layout.finish()
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        Ok(fs::remove_dir_all(directory)?)
    } else {
        Ok(())
    }
}

struct Chart {
    directory: PathBuf,
    /// What its Chart.yaml says.
    fields: Value,
    metadata: ChartMetadata,
}

impl Chart {
    fn read(directory: &Path) -> Result<Chart> {
        let file = directory.join("Chart.yaml");
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Chart::new(directory, serde_yaml::from_str(&text)?)
    }

    fn new(directory: &Path, fields: Value) -> Result<Chart> {
        let metadata = ChartMetadata::parse(fields.to_string().as_bytes())
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(Chart {
            directory: directory.to_owned(),
            fields,
            metadata,
        })
    }

    fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        self.append_to(&mut archive, Path::new(self.metadata.name()))?;
        Ok(archive.into_inner()?.finish()?)
    }

    /// As helm does it: Chart.yaml written anew, the other files as they are, and the charts this
    /// one depends on below `charts/`.
    fn append_to(&self, archive: &mut tar::Builder<impl Write>, place: &Path) -> Result<()> {
        append(
            archive,
            &place.join("Chart.yaml"),
            serde_yaml::to_string(&self.metadata)?.as_bytes(),
        )?;
        for file in files_below(&self.directory)? {
            let name = file.strip_prefix(&self.directory)?;
            if name != Path::new("Chart.yaml") {
                append(archive, &place.join(name), &fs::read(&file)?)?;
            }
        }
        let dependencies = self.fields["dependencies"].as_array();
        for dependency in dependencies.into_iter().flatten() {
            let text = |field: &str| dependency[field].as_str().unwrap_or_default();
            let (name, repository) = (text("name"), text("repository"));
            let Some(beside) = repository.strip_prefix(BESIDE) else {
                return Err(format!("{name}: not in a directory beside it").into());
            };
            let chart = Chart::read(&self.directory.join(beside))?;
            chart.append_to(archive, &place.join("charts").join(name))?;
        }
        Ok(())
    }
}

/// A regular file that all users may read, owned by root.
fn append(archive: &mut tar::Builder<impl Write>, place: &Path, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(PACKED_AT.into());
    Ok(archive.append_data(&mut header, place, bytes)?)
}

/// All files below a directory, sorted by their paths.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files_of(directory)? {
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// An OCI image layout (image-spec v1.1.0, image-layout.md) while it's being filled.
struct Layout {
    directory: PathBuf,
    manifests: Vec<Value>,
}

impl Layout {
    /// Adds what `helm push` would push, named `NAME:VERSION`.
    fn add(&mut self, chart: &Chart) -> Result<()> {
        let metadata = &chart.metadata;
        let manifest = json!({
            "schemaVersion": 2,
            "config": self.blob(CONFIG_TYPE, &serde_json::to_vec(metadata)?)?,
            "layers": [self.blob(ARCHIVE_TYPE, &chart.archive()?)?],
            "annotations": {
                "org.opencontainers.image.created":
                    OffsetDateTime::from_unix_timestamp(PACKED_AT.into())?.format(&Rfc3339)?,
                "org.opencontainers.image.title": metadata.name(),
                "org.opencontainers.image.version": metadata.version(),
            },
        });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let mut entry = self.blob(kind, manifest.to_string().as_bytes())?;
        let name = format!(
            "{}:{}",
            metadata.name(),
            metadata.version().replace('+', "_")
        );
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        self.manifests.push(entry);
        Ok(())
    }

    /// Writes a blob and answers its descriptor.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value> {
        let digest = Digest::sha256(bytes);
        let (algorithm, hex) = digest.parts();
        let folder = self.directory.join("blobs").join(algorithm);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(hex), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()}))
    }

    fn finish(&self) -> Result<()> {
        fs::write(
            self.directory.join("oci-layout"),
            json!({"imageLayoutVersion": "1.0.0"}).to_string(),
        )?;
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        Ok(fs::write(
            self.directory.join("index.json"),
            index.to_string(),
        )?)
    }
}
