//! One chart version of the zoo: its Chart.yaml, where it is pushed to, and by which helm.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::tools::{LEGACY_HELM, NEWEST_HELM};

pub struct Specimen {
    /// Chart.yaml, as JSON (which is YAML, and says exactly which strings it means).
    pub chart: Value,
    /// requirements.yaml, where a chart of apiVersion v1 has its dependencies.
    pub requirements: Option<Value>,
    /// The repository it goes to, without the part's own prefix.
    pub repository: String,
    pub tag: String,
    /// Further tags on the same manifest.
    pub aliases: &'static [&'static str],
    pub packing: Packing,
    pub helm: &'static str,
}

/// How a directory becomes an archive in the registry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packing {
    /// `helm package`, `helm push`.
    Helm,
    /// The same with `--sign`, so that a provenance layer is pushed too.
    Signed,
    /// Plain tar, then `helm push`: helm's own packing can't write this Chart.yaml readably.
    Tar,
    /// `helm chart save`, `helm chart push` of Helm 3.0 to 3.6.
    Legacy,
}

/// A chart that the newest helm packages and pushes to the repository named after it.
pub fn chart(name: &str, version: &str, fields: Value) -> Specimen {
    let mut chart = json!({"apiVersion": "v2", "name": name, "version": version});
    let target = chart.as_object_mut().expect("an object");
    target.extend(fields.as_object().expect("fields are an object").clone());
    Specimen {
        chart,
        requirements: None,
        repository: name.to_owned(),
        tag: version.replace('+', "_"),
        aliases: &[],
        packing: Packing::Helm,
        helm: NEWEST_HELM,
    }
}

impl Specimen {
    pub fn name(&self) -> &str {
        self.chart["name"].as_str().expect("a name")
    }

    pub fn version(&self) -> &str {
        self.chart["version"].as_str().expect("a version")
    }

    /// What helm calls the archive.
    pub fn archive_name(&self) -> String {
        format!("{}-{}.tgz", self.name(), self.version())
    }

    /// Packaged and pushed by that helm.
    pub fn by(self, helm: &'static str) -> Specimen {
        Specimen { helm, ..self }
    }

    /// In a repository some levels down; `helm push` makes the last one the chart's name.
    pub fn below(self, parent: &str) -> Specimen {
        Specimen {
            repository: format!("{parent}/{}", self.name()),
            ..self
        }
    }

    pub fn aliased(self, aliases: &'static [&'static str]) -> Specimen {
        Specimen { aliases, ..self }
    }

    pub fn signed(self) -> Specimen {
        Specimen {
            packing: Packing::Signed,
            ..self
        }
    }

    pub fn tarred(self) -> Specimen {
        Specimen {
            packing: Packing::Tar,
            ..self
        }
    }

    /// By a helm that let the user choose any repository and any tag.
    pub fn legacy(self, repository: &str, tag: &str) -> Specimen {
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        Specimen {
            repository,
            tag,
            packing: Packing::Legacy,
            helm: LEGACY_HELM,
            ..self
        }
    }

    /// An apiVersion v1 chart with its dependencies beside Chart.yaml.
    pub fn with_requirements(mut self, dependencies: Value) -> Specimen {
        self.chart["apiVersion"] = json!("v1");
        self.requirements = Some(json!({ "dependencies": dependencies }));
        self
    }

    /// Writes the chart's directory, with a stand-in for each dependency, for helm packages no
    /// chart whose `charts/` lacks one.
    pub fn write_to(&self, directory: &Path) {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::write(&path, text).expect("write a chart's file");
        };
        write("Chart.yaml", escaped(&self.chart));
        write("values.yaml", "greeting: hello\n".to_owned());
        if self.chart["type"] != "library" {
            write("templates/configmap.yaml", TEMPLATE.to_owned());
        }
        if let Some(requirements) = &self.requirements {
            write("requirements.yaml", requirements.to_string());
        }
        for name in self.dependency_names() {
            let stand_in = json!({"apiVersion": "v2", "name": name, "version": "1.0.0"});
            write(&format!("charts/{name}/Chart.yaml"), stand_in.to_string());
        }
    }

    fn dependency_names(&self) -> Vec<&str> {
        let required = self.requirements.as_ref().map(|file| &file["dependencies"]);
        let lists = [Some(&self.chart["dependencies"]), required];
        let all = lists
            .into_iter()
            .flatten()
            .filter_map(Value::as_array)
            .flatten();
        all.map(|one| one["name"].as_str().expect("a dependency's name"))
            .collect()
    }
}

/// JSON in ASCII, with YAML's own escape for what JSON would need two for: helm's reader refuses
/// or folds some characters that aren't escaped, and joins no surrogates.
fn escaped(chart: &Value) -> String {
    let mut text = String::new();
    for character in chart.to_string().chars() {
        match u32::from(character) {
            0x20..0x7f => text.push(character),
            code @ 0..0x10000 => text.push_str(&format!("\\u{code:04x}")),
            code => text.push_str(&format!("\\U{code:08x}")),
        }
    }
    text
}

const TEMPLATE: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  chart: \"{{ .Chart.Name }}-{{ .Chart.Version }}\"
  greeting: {{ .Values.greeting }}
";
