//! How often a registry was asked, and for what.

use std::sync::Mutex;

/// Requests by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub catalog: usize,
    pub tags: usize,
    pub manifest_heads: usize,
    pub manifests: usize,
    pub blobs: usize,
    /// The scheme's probe, and whatever nobody should ask for.
    pub others: usize,
}

impl Asked {
    pub fn all(&self) -> usize {
        self.catalog + self.tags + self.manifest_heads + self.manifests + self.blobs + self.others
    }
}

#[derive(Default)]
pub struct Census(Mutex<Asked>);

impl Census {
    /// Counts a request by its first line, such as `GET /v2/_catalog?n=1000 HTTP/1.1`.
    pub fn count(&self, line: &str) {
        let mut asked = self.0.lock().expect("counting doesn't panic");
        let (method, target) = line.split_once(' ').unwrap_or_default();
        let kind = match target {
            _ if target.contains("/_catalog") => &mut asked.catalog,
            _ if target.contains("/tags/list") => &mut asked.tags,
            _ if target.contains("/manifests/") && method == "HEAD" => &mut asked.manifest_heads,
            _ if target.contains("/manifests/") => &mut asked.manifests,
            _ if target.contains("/blobs/") => &mut asked.blobs,
            _ => &mut asked.others,
        };
        *kind += 1;
    }

    /// What was asked since this was last called.
    pub fn take(&self) -> Asked {
        std::mem::take(&mut self.0.lock().expect("counting doesn't panic"))
    }
}
