//! `neuronlake pull`: a model from the Hugging Face hub into its cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::arguments::{Arguments, Pull};
use super::print;
use super::progress::Verbosity;
use crate::error::Result;
use crate::models::hub::{self, FileProgress, Hub, OnProgress};

pub(crate) async fn pull(arguments: &Arguments, command: &Pull) -> Result<()> {
    let folder =
        hub::pull(&Hub::from_env(), &command.repository, &command.revision, bars(arguments.verbosity())).await?;
    // The one line on stdout is the folder, for `--model "$(neuronlake pull gpt2)"`.
    print(&format!("{}\n", folder.display()))
}

/// One bar a file, on stderr, where there is a terminal.
fn bars(verbosity: Verbosity) -> OnProgress {
    if verbosity != Verbosity::Bars {
        return Arc::new(|_: &FileProgress| {});
    }
    let all = MultiProgress::new();
    let bars: Mutex<HashMap<String, ProgressBar>> = Mutex::default();
    Arc::new(move |file: &FileProgress| {
        let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(file.file.clone()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg:32} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
            let bar = ProgressBar::new(file.size).with_message(file.file.clone());
            all.add(style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)))
        });
        bar.set_position(file.received);
    })
}
