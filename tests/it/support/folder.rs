//! A directory of `.tgz` files, packed by tar-format code as any tool might have packed them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::daemon::Daemon;
use super::helm::argument;
use super::process::Scratch;

pub struct Folder(Scratch);

impl Folder {
    pub fn new() -> Folder {
        Folder(Scratch::new("local"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.0.file(name, bytes)
    }

    /// A chart that lacks nothing, and nothing more.
    pub fn chart(&self, file: &str, name: &str, version: &str) -> Vec<u8> {
        let bytes = packed_chart(name, version);
        self.file(file, &bytes);
        bytes
    }

    pub fn flags(&self) -> [String; 2] {
        flags(self.path())
    }

    pub fn daemon(&self) -> Daemon {
        Daemon::start_ready(&self.flags().each_ref().map(String::as_str))
    }
}

pub fn flags(directory: &Path) -> [String; 2] {
    [
        "--storage=local".to_owned(),
        format!("--storage-local-rootdir={}", argument(directory)),
    ]
}

pub fn packed_chart(name: &str, version: &str) -> Vec<u8> {
    let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
    packed(&[("chart/Chart.yaml", chart.as_bytes())])
}

/// A gzipped tar of these files, whatever their names are.
pub fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    gzipped(&tarred(files))
}

pub fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        archive
            .append(&header(name, bytes.len()), *bytes)
            .expect("a vector takes all");
    }
    archive.into_inner().expect("a vector takes all")
}

pub fn header(name: &str, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// Replaces a file as tools do: by another one that takes its place.
pub fn replace(path: &Path, bytes: &[u8]) {
    let fresh = path.with_extension("part");
    fs::write(&fresh, bytes).expect("write");
    fs::rename(fresh, path).expect("rename");
}
