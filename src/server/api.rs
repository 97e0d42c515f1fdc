//! Answers to programs: what is listed, as ChartMuseum tells it, and what isn't, and why. Like an
//! index, from a fresh snapshot and from nothing else.

use super::head::Head;
use super::respond::{Answer, JSON, Responder, crowded, represent};
use super::route::Api;
use crate::snapshot::PageError;

impl Responder {
    /// `/api/…`
    pub(super) fn api(&self, head: &Head, api: &Api) -> Answer {
        self.of_fresh(|snapshot| {
            let found = match api {
                Api::Charts => snapshot.charts_json(),
                Api::Chart(name) => snapshot.chart_json(name),
                Api::ChartVersion(name, version) => snapshot.chart_version_json(name, version),
                Api::Skipped => snapshot.skipped_json(),
            };
            match found {
                Ok(representation) => represent(&representation, JSON, head),
                Err(PageError::NotFound(why)) => {
                    Answer::line(404, JSON, &serde_json::json!({ "error": why }).to_string())
                }
                Err(PageError::Busy) => crowded(),
            }
        })
    }
}
