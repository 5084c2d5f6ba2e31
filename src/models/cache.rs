//! Subject models by their source, each loaded once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::source::ModelSource;
use super::subject_model::SubjectModel;
use crate::error::{Error, Result};

/// The models of a session.
#[derive(Debug, Default)]
pub struct Models {
    loaded: Mutex<HashMap<String, Arc<SubjectModel>>>,
    only: Option<Vec<String>>,
}

impl Models {
    /// Models of these sources and no others.
    pub fn only(sources: Vec<String>) -> Self {
        Self { loaded: Mutex::default(), only: Some(sources) }
    }

    /// The model of a source (`default`, a folder or a file), loaded now if it was not before.
    ///
    /// # Errors
    /// When it cannot be loaded, and [`Error::Refused`] for a source that is not among [`Models::only`].
    pub fn get(&self, source: &str) -> Result<Arc<SubjectModel>> {
        if let Some(only) = self.only.as_ref().filter(|only| !only.iter().any(|named| named == source)) {
            let reason = format!("expected one of those the server was started with ({})", only.join(", "));
            return Err(Error::Refused { what: format!("subject model '{source}'"), reason });
        }
        // Held while loading: two callers must not both fill the memory with one model.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = loaded.get(source) {
            return Ok(Arc::clone(model));
        }
        let model = Arc::new(SubjectModel::load(&ModelSource::from(source))?);
        loaded.insert(source.to_owned(), Arc::clone(&model));
        Ok(model)
    }
}
