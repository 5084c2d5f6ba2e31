//! Subject models by their source, each loaded once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::latents::Autoencoders;
use super::source::ModelSource;
use super::subject_model::SubjectModel;
use crate::error::{Error, Result};

/// The models of a session.
#[derive(Debug, Default)]
pub struct Models {
    loaded: Mutex<HashMap<String, Arc<SubjectModel>>>,
    only: Option<Vec<String>>,
    autoencoders: OnceLock<Arc<Autoencoders>>,
}

impl Models {
    /// Models of these sources and no others.
    pub fn only(sources: Vec<String>) -> Self {
        Self { only: Some(sources), ..Self::default() }
    }

    /// Gives the models loaded from now on the autoencoders of a lake; the first lake counts.
    pub fn attach(&self, autoencoders: Autoencoders) {
        // Models belong to one session, and a session to one lake.
        let _ = self.autoencoders.set(Arc::new(autoencoders));
    }

    /// The autoencoders of the lake; `None` outside a lake.
    pub fn autoencoders(&self) -> Option<&Arc<Autoencoders>> {
        self.autoencoders.get()
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
        let model = SubjectModel::load(&ModelSource::from(source))?;
        let model = Arc::new(match self.autoencoders.get() {
            Some(autoencoders) => model.with_autoencoders(Arc::clone(autoencoders)),
            None => model,
        });
        loaded.insert(source.to_owned(), Arc::clone(&model));
        Ok(model)
    }
}
