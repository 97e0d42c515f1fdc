//! What an artifact is: a chart, or the reason why it isn't one. The manifest's digest stands for all of
//! it, so this is read once for each digest.

use crate::archives::{MAX_UNPACKED, config_of};
use crate::helm::chart::CONFIG_TYPE;
use crate::helm::{ChartLayers, PackedMetadata};
use crate::oci::{
    Blob, Digest, ImageIndex, ImageManifest, ListedManifest, Manifest, Reference, RepositoryName,
    Verifying, excerpt, qualified,
};
use crate::storage::{Error, ErrorKind, MAX_MANIFEST, Storage, read_blob};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// Most manifests of one image index that are read: an index of an image and its chart lists a few
/// that aren't plainly images, a hostile one as many as it has room for.
const MAX_CANDIDATES: usize = 32;

/// What an artifact is, by its manifest.
pub(super) enum Artifact {
    /// A chart, if its config blob says so too.
    Chart {
        /// Shared with the snapshots in which it's listed.
        layers: Arc<ChartLayers>,
    },
    /// Why it isn't a chart.
    NotAChart(Arc<str>),
}

/// What a config blob says.
pub(super) enum ChartConfig {
    Metadata(PackedMetadata),
    /// The chart's name and how many bytes of an index come of it, of a chart that isn't listed: the rest was
    /// read and not kept.
    Forgotten(Arc<str>, u64),
    /// Why it isn't a chart's.
    NotAChart(Arc<str>),
}

/// What a tag names; without the artifact if the inventory has it already.
pub(super) type CheckResult = (Digest, Option<Artifact>);

impl ChartConfig {
    pub(super) fn parse(bytes: &[u8]) -> ChartConfig {
        match PackedMetadata::parse(bytes) {
            Ok(metadata) => ChartConfig::Metadata(metadata),
            Err(reason) => ChartConfig::NotAChart(excerpt(&reason).into()),
        }
    }

    /// The name of its chart.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            ChartConfig::Metadata(metadata) => Some(metadata.name()),
            ChartConfig::Forgotten(name, _) => Some(name),
            ChartConfig::NotAChart(_) => None,
        }
    }

    /// How many bytes of an index come of it.
    pub(super) fn rendered(&self) -> u64 {
        match self {
            ChartConfig::Metadata(metadata) => metadata.rendered(),
            ChartConfig::Forgotten(_, rendered) => *rendered,
            ChartConfig::NotAChart(_) => 0,
        }
    }

    /// The same in memory of the calling thread, as [`Artifact::copy`], and with texts that it shares.
    pub(super) fn copy(&self, texts: &mut HashSet<Arc<str>>) -> ChartConfig {
        match self {
            ChartConfig::Metadata(metadata) => ChartConfig::Metadata(metadata.copy(texts)),
            ChartConfig::Forgotten(name, rendered) => {
                ChartConfig::Forgotten(Arc::from(&**name), *rendered)
            }
            ChartConfig::NotAChart(reason) => ChartConfig::NotAChart(Arc::from(&**reason)),
        }
    }

    /// Forgets all but what decides whether it is wanted.
    pub(super) fn forget(&mut self) {
        if let ChartConfig::Metadata(metadata) = self {
            *self = ChartConfig::Forgotten(metadata.name().into(), metadata.rendered());
        }
    }
}

impl Artifact {
    /// The reason may hold words of the pusher's.
    fn not_a_chart(reason: impl AsRef<str>) -> Artifact {
        Artifact::NotAChart(excerpt(reason.as_ref()).into())
    }

    /// The same in memory of the calling thread. What the threads of a scan have allocated lies among what
    /// they needed for a moment, a kilobyte of gaps for each chart. Once all of it is copied and dropped,
    /// their memory is empty, and is given back.
    pub(super) fn copy(&self) -> Artifact {
        match self {
            Artifact::Chart { layers } => Artifact::Chart {
                layers: Arc::new(ChartLayers::clone(layers)),
            },
            Artifact::NotAChart(reason) => Artifact::NotAChart(Arc::from(&**reason)),
        }
    }

    /// The config blob of a chart.
    pub(super) fn config(&self) -> Option<&Digest> {
        match self {
            Artifact::Chart { layers, .. } => Some(&layers.config.digest),
            Artifact::NotAChart(_) => None,
        }
    }

    /// Whether it is known if this is a chart that can be listed.
    pub(super) fn is_decided(&self, configs: &HashMap<Digest, ChartConfig>) -> bool {
        self.config()
            .is_none_or(|config| configs.contains_key(config))
    }
}

/// Reads artifacts of one repository. An error says nothing about the artifact: it could not be read.
pub(super) struct Reader<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) repository: &'a RepositoryName,
}

impl Reader<'_> {
    /// What the manifest in these bytes stands for.
    pub(super) fn artifact(&self, manifest: &[u8]) -> Result<Artifact, Error> {
        match Manifest::parse(manifest) {
            Ok(Manifest::Image(manifest)) => Ok(chart(&manifest)),
            Ok(Manifest::Index(index)) => self.chart_among(&index),
            Ok(Manifest::Schema1) => Ok(Artifact::not_a_chart("a Docker image of schema 1")),
            Err(error) => Ok(Artifact::not_a_chart(error)),
        }
    }

    /// What a chart's config blob says.
    pub(super) fn config(&self, chart: &ChartLayers) -> Result<ChartConfig, Error> {
        if !chart.has_packed_config {
            let bytes = read_blob(self.storage, self.repository, &chart.config)?;
            return Ok(ChartConfig::parse(&bytes));
        }
        let unpacked = self.unpacked(&chart.archive)?;
        Ok(unpacked.map_or_else(ChartConfig::NotAChart, |config| ChartConfig::parse(&config)))
    }

    /// The config blob that is made of an archive's Chart.yaml, or why there is none.
    pub(super) fn unpacked(&self, archive: &Blob) -> Result<Result<Vec<u8>, Arc<str>>, Error> {
        if archive.size > MAX_UNPACKED {
            let why =
                format!("its config blob has no name, and its archive over {MAX_UNPACKED} bytes");
            return Ok(Err(why.into()));
        }
        let source = self.storage.blob(self.repository, archive)?;
        let mut source = Verifying::new(source, &archive.digest, archive.size);
        let config = config_of(&mut source);
        // Only of the right bytes it can be said that they hold no chart.
        io::copy(&mut source, &mut io::sink()).map_err(|cause| {
            let name = qualified(self.repository, &archive.digest.to_string());
            Error::new(ErrorKind::from(&cause), format!("{name}: {cause}"))
        })?;
        let reason = |why| format!("its config blob has no name, and its archive {why}");
        Ok(config.map_err(|why| excerpt(&reason(why)).into()))
    }

    /// Errors if a blob of a chart is not there to be handed out, as far as that is cheap to know.
    pub(super) fn check_blobs(&self, artifact: &Artifact) -> Result<(), Error> {
        let Artifact::Chart { layers, .. } = artifact else {
            return Ok(());
        };
        if let Some(provenance) = &layers.provenance {
            self.storage.check(self.repository, provenance)?;
        }
        self.storage.check(self.repository, &layers.archive)
    }

    /// The chart among what an image index lists: an image and its chart may go by one tag (helm#31582).
    /// Of several charts it can't be told which is meant; Helm takes now one, now another (helm#32539).
    fn chart_among(&self, index: &ImageIndex) -> Result<Artifact, Error> {
        let listed = index.manifests.iter().filter(|one| may_be_chart(one));
        let candidates: BTreeSet<&Digest> = listed.map(|one| &one.descriptor.digest).collect();
        if candidates.len() > MAX_CANDIDATES {
            let reason =
                format!("an image index of over {MAX_CANDIDATES} manifests that may be charts");
            return Ok(Artifact::not_a_chart(reason));
        }
        let (mut charts, mut missing) = (Vec::new(), None);
        for digest in candidates {
            match self.listed(digest) {
                Ok(Some(manifest)) => charts.push(manifest),
                Ok(None) => {}
                // An index may list more than was copied with it.
                Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(match (&*charts, missing) {
            ([manifest], _) => chart(manifest),
            ([], Some(error)) => return Err(error),
            ([], None) => Artifact::not_a_chart("an image index that lists no chart"),
            (several, _) => {
                let count = several.len();
                Artifact::not_a_chart(format!("an image index that lists {count} charts, not one"))
            }
        })
    }

    /// A manifest that an image index lists, if it says that it's a chart's. Its bytes must be the digest's,
    /// for that is all that ties it to the tag.
    fn listed(&self, digest: &Digest) -> Result<Option<ImageManifest>, Error> {
        let bytes = self
            .storage
            .manifest(self.repository, &Reference::from(digest))?;
        if !digest.names(&bytes) {
            let name = qualified(self.repository, &digest.to_string());
            let text = format!("{name}: other bytes than the digest's");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        match Manifest::parse(&bytes) {
            Ok(Manifest::Image(manifest)) if manifest.config.media_type.is(CONFIG_TYPE) => {
                Ok(Some(manifest))
            }
            _ => Ok(None),
        }
    }
}

fn chart(manifest: &ImageManifest) -> Artifact {
    match ChartLayers::find(manifest) {
        Ok(layers) => Artifact::Chart {
            layers: Arc::new(layers),
        },
        Err(reason) => Artifact::not_a_chart(reason),
    }
}

/// Whether a manifest of an image index is worth a request. A chart doesn't run on anything; the
/// images of an index do, and BuildKit writes `unknown/unknown` for what it attests of them.
fn may_be_chart(listed: &ListedManifest) -> bool {
    let declared = listed.artifact_type.as_ref();
    let declared = declared.is_some_and(|kind| kind.is(CONFIG_TYPE));
    let fits = listed.descriptor.size <= MAX_MANIFEST;
    fits && (declared || !(listed.has_platform() || listed.is_index()))
}
