//! Subject models by their source, each loaded once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::source::ModelSource;
use super::subject_model::SubjectModel;
use crate::error::Result;

/// The models of a session.
#[derive(Debug, Default)]
pub struct Models {
    loaded: Mutex<HashMap<String, Arc<SubjectModel>>>,
}

impl Models {
    /// The model of a source (`default`, a folder or a file), loaded now if it was not before.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn get(&self, source: &str) -> Result<Arc<SubjectModel>> {
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
