//! `neuronlake hooks`: the hook points of a model.

use super::arguments::Hooks;
use super::print;
use crate::error::Result;
use crate::models::source::ModelSource;
use crate::models::subject_model::SubjectModel;

pub(crate) fn hooks(command: &Hooks) -> Result<()> {
    let model = SubjectModel::load(&ModelSource::from(command.model.as_str()))?;
    let mut text = String::new();
    for hook in model.hook_points() {
        text.push_str(&format!("{:<36} {:>8}\n", hook.name(), hook.width()));
    }
    print(&text)
}
