//! What tokens cost: a table that users edit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// The table that is part of the program.
const EMBEDDED: &str = include_str!("prices.toml");

/// US dollars for a million tokens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of the prompt.
    pub prompt: f64,
    /// Of the reply.
    pub completion: f64,
    /// When the price was looked up, for people.
    pub as_of: Option<String>,
}

impl Price {
    /// US dollars of one call.
    pub fn dollars(&self, prompt_tokens: u32, completion_tokens: u32) -> f64 {
        (self.prompt * f64::from(prompt_tokens) + self.completion * f64::from(completion_tokens)) / 1e6
    }
}

/// Prices by the endpoint's exact name of the model: a dated snapshot may cost something else than its family.
#[derive(Clone, Debug)]
pub struct Prices {
    models: HashMap<String, Price>,
    edit: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    models: HashMap<String, Price>,
}

impl Prices {
    /// The prices that are part of the program.
    ///
    /// # Errors
    /// [`Error::Internal`] when our own table is damaged: a test reads it.
    pub fn embedded() -> Result<Self> {
        let models = read(EMBEDDED).map_err(|reason| Error::internal(format!("prices.toml: {reason}")))?;
        Ok(Self { models, edit: PathBuf::from("prices.toml") })
    }

    /// The prices of the program, and over them those of a file.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Argument`] when it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Self::over_embedded(path, &text)
    }

    fn over_embedded(path: &Path, text: &str) -> Result<Self> {
        let mut prices = Self::embedded()?;
        let models = read(text).map_err(|reason| Error::Argument {
            argument: "table of prices".to_owned(),
            expected: "[models.\"NAME\"] with prompt and completion in dollars for a million tokens".to_owned(),
            got: format!("{}: {reason}", path.display()),
        })?;
        prices.models.extend(models);
        prices.edit = path.to_owned();
        Ok(prices)
    }

    /// The prices of the program, and over them those of `prices.toml` in a lake's folder, where there is one.
    ///
    /// # Errors
    /// As [`Prices::from_file`].
    pub fn of_lake(folder: &Path) -> Result<Self> {
        let path = folder.join("prices.toml");
        match path.is_file() {
            true => Self::from_file(&path),
            false => Ok(Self { edit: path, ..Self::embedded()? }),
        }
    }

    /// The prices of the program, and over them those of the lake's own table, by its address and its text where it has one.
    ///
    /// # Errors
    /// As [`Prices::from_file`].
    pub(crate) fn of_text(address: &str, text: Option<&str>) -> Result<Self> {
        match text {
            Some(text) => Self::over_embedded(Path::new(address), text),
            None => Ok(Self { edit: PathBuf::from(address), ..Self::embedded()? }),
        }
    }

    /// The price of a model.
    pub fn price(&self, model: &str) -> Option<&Price> {
        self.models.get(model)
    }

    /// The file in which a user adds a price.
    pub fn edit(&self) -> &Path {
        &self.edit
    }
}

fn read(text: &str) -> std::result::Result<HashMap<String, Price>, String> {
    let table: Table = toml::from_str(text).map_err(|e| e.message().to_owned())?;
    let usable = |price: f64| price.is_finite() && price >= 0.0;
    match table.models.iter().find(|(_, price)| !usable(price.prompt) || !usable(price.completion)) {
        Some((model, _)) => Err(format!("model '{model}': expected prices of 0 or more")),
        None => Ok(table.models),
    }
}

#[cfg(test)]
mod tests;
