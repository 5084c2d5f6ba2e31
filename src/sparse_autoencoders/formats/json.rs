//! Fields of a configuration in JSON, with the file and the field in every fault.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// An object and the file it is in.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Fields {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let format = |got: String| Error::Format { path: path.to_owned(), expected: "a JSON object".to_owned(), got };
        match serde_json::from_str(&text) {
            Ok(Value::Object(fields)) => Ok(Self { path: path.to_owned(), fields }),
            Ok(other) => Err(format(other.to_string())),
            Err(error) => Err(format(error.to_string())),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// An object inside, empty if there is none.
    pub(super) fn object(&self, name: &str) -> Self {
        let fields = self.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
        Self { path: self.path.clone(), fields }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.typed(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<usize>> {
        self.typed(name, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A number that must be there and agree with what the tensors say.
    pub(super) fn expect_count(&self, name: &str, size: usize) -> Result<()> {
        match self.count(name)? {
            Some(said) if said != size => {
                Err(self.fault(name, &format!("{size}, the size of the weights"), &said.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// A field without which the meaning is open.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.fault(name, "it to be there", "none"))
    }

    pub(super) fn fault(&self, name: &str, expected: &str, got: &str) -> Error {
        Error::Format { path: self.path.clone(), expected: format!("field '{name}': {expected}"), got: got.to_owned() }
    }

    fn typed<T>(&self, name: &str, expected: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.fault(name, expected, &value.to_string())),
        }
    }
}
