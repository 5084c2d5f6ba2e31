//! `neuronlake like` and `neuronlake fires`: units like one unit, and units that fire on a text, with what the lake says of them.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use clap::{Args, ValueEnum};

use super::arguments::{Arguments, LakeIfAny};
use super::table::Format;
use super::{open, sql};
use crate::error::{Error, Result};
use crate::pipeline::queries::Parameter;
use crate::session::SessionOptions;

/// The explanation of a unit with the best score; without a score any.
const EXPLAINED: &str = "(SELECT e.model, e.hook_point, e.neuron, max(b.value) AS score, \
     first_value(e.text ORDER BY b.value DESC NULLS LAST, e.explanation) AS explanation \
     FROM explanations e LEFT JOIN best_explanations b ON b.model = e.model AND b.hook_point = e.hook_point \
     AND b.neuron = e.neuron AND b.corpus = e.corpus AND b.explanation = e.explanation \
     WHERE e.text IS NOT NULL GROUP BY e.model, e.hook_point, e.neuron)";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake like blocks.3.mlp.hook_post:7 --by output
  neuronlake like blocks.3.mlp.hook_post:7 --model ./gpt2 --by input --where 'layer > 3' --top 10
  neuronlake like blocks.3.mlp.hook_post:7 --by activations --sequences 2000 --where 'score > 0.5'
  neuronlake like blocks.5.mlp.hook_post:131 --model gpt2-xl --by explanation --lake ./lake")]
pub(crate) struct Like {
    /// The unit, as hook_point:neuron.
    unit: String,
    /// Its model: 'default', a folder or a file; for explanations also the id of a model that was imported.
    #[arg(long, default_value = "default", value_name = "PATH")]
    model: String,
    /// What is compared: weights that read (input), weights that write (output), activations over the lake's token sequences, or
    /// the meaning of explanations in the lake.
    #[arg(long, value_enum, default_value = "output")]
    by: By,
    /// Hook points whose units are compared [default: those of the unit's kind in all layers].
    #[arg(long = "hook", value_name = "PATTERN")]
    hook: Option<String>,
    /// Corpus, for activations.
    #[arg(long, default_value = "default", value_name = "URL")]
    corpus: String,
    /// Token sequences of a seeded sample, for activations [default: all].
    #[arg(long, value_name = "N", value_parser = super::arguments::positive)]
    sequences: Option<usize>,
    #[command(flatten)]
    rows: Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Cosine of input weights.
    Input,
    /// Cosine of output weights.
    Output,
    /// Correlation of activations.
    Activations,
    /// Cosine of the sentence vectors of explanations.
    Explanation,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  neuronlake fires 'The king rode to the castle.'
  neuronlake fires 'The king rode to the castle.' --model ./gpt2 --hook 'blocks.*.mlp.hook_post' --where 'score > 0.3' --top 5")]
pub(crate) struct Fires {
    /// The text.
    text: String,
    /// The model: 'default', a folder or a file.
    #[arg(long, default_value = "default", value_name = "PATH")]
    model: String,
    /// Hook points to read; * stands for anything.
    #[arg(long = "hook", default_value = "blocks.*.mlp.hook_post", value_name = "PATTERN")]
    hook: String,
    #[command(flatten)]
    rows: Rows,
}

/// Which rows are shown, and how.
#[derive(Debug, Args)]
struct Rows {
    /// Only rows that meet an SQL condition on the columns shown.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Rows at most.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = super::arguments::positive)]
    top: usize,
    /// How rows are written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    lake: LakeIfAny,
}

impl Rows {
    /// The first rows of a query that meet the condition, in an order.
    fn of(&self, query: &str, order: &str) -> String {
        let condition = self.condition.as_deref().unwrap_or("true");
        // On lines of its own: a comment in it must not swallow the rest.
        format!("SELECT * FROM ({query}) WHERE (\n{condition}\n) ORDER BY {order} LIMIT {}", self.top)
    }
}

fn text(text: &str) -> String {
    Parameter::Text(text.to_owned()).to_sql()
}

pub(crate) async fn like(arguments: &Arguments, command: &Like) -> Result<()> {
    let (hook_point, neuron) = unit(&command.unit)?;
    let by = match command.by {
        By::Input => "input",
        By::Output => "output",
        By::Activations => "activations",
        By::Explanation => return like_by_explanation(arguments, command, hook_point, neuron).await,
    };
    let mut options = serde_json::json!({ "corpus": command.corpus });
    if let Some(hook) = &command.hook {
        options["hook_points"] = hook.as_str().into();
    }
    if let Some(sequences) = command.sequences {
        options["sequences"] = sequences.into();
    }
    let query = format!(
        "SELECT n.hook_point, n.layer, n.neuron, n.similarity, x.score, x.explanation \
         FROM neurons_like({}, {}, {neuron}, '{by}', {}) n \
         LEFT JOIN {EXPLAINED} x ON x.model = n.model AND x.hook_point = n.hook_point AND x.neuron = n.neuron \
         WHERE NOT (n.hook_point = {} AND n.neuron = {neuron})",
        text(&command.model),
        text(hook_point),
        text(&options.to_string()),
        text(hook_point),
    );
    let session = open(command.rows.lake.open().await?, SessionOptions::default())?;
    let query = command.rows.of(&query, "similarity DESC NULLS LAST, hook_point, neuron");
    sql::print_rows(&session, &query, command.rows.format).await
}

/// Units whose explanations mean most nearly what the unit's best one does; each with its nearest explanation.
async fn like_by_explanation(arguments: &Arguments, command: &Like, hook_point: &str, neuron: u32) -> Result<()> {
    let session = open(command.rows.lake.open().await?, SessionOptions::default())?;
    let model = match session.models().get(&command.model) {
        Ok(model) => model.id().to_owned(),
        // A model that was imported has an id and no file.
        Err(Error::ModelNotFound { .. }) => command.model.clone(),
        Err(error) => return Err(error),
    };
    let of_unit = format!("hook_point = {} AND neuron = {neuron}", text(hook_point));
    let own = format!("SELECT explanation FROM {EXPLAINED} WHERE model = {} AND {of_unit}", text(&model));
    let batches = session.read_only_sql(&own).await?.collect().await?;
    let found = batches.iter().find(|batch| batch.num_rows() > 0).map(|batch| cast(batch.column(0), &DataType::Utf8));
    let Some(found) = found.transpose()? else {
        return Err(Error::Missing { kind: "explanation of unit", path: format!("{model} {}", command.unit) });
    };
    let explanation = found.as_string::<i32>().value(0);
    let notes = super::search::vectors(&session, None, arguments.verbosity()).await?;
    super::search::tell(arguments, &notes)?;
    let hooks = match &command.hook {
        Some(pattern) => {
            format!(" AND hook_point ~ {}", text(&format!("^{}$", regex::escape(pattern).replace("\\*", ".*"))))
        }
        None => String::new(),
    };
    let query = format!(
        "SELECT hook_point, layer, neuron, max(similarity) AS similarity, max(score) AS score, \
         first_value(text ORDER BY similarity DESC, explanation) AS explanation \
         FROM semantic_matches({}) WHERE model = {} AND NOT ({of_unit}){hooks} GROUP BY hook_point, layer, neuron",
        text(explanation),
        text(&model),
    );
    let query = command.rows.of(&query, "similarity DESC NULLS LAST, hook_point, neuron");
    sql::print_rows(&session, &query, command.rows.format).await
}

pub(crate) async fn fires(command: &Fires) -> Result<()> {
    let query = format!(
        "SELECT f.hook_point, f.layer, f.neuron, f.token, f.position, f.activation, f.activation / s.most AS of_max, \
         x.score, x.explanation \
         FROM (SELECT model, hook_point, layer, neuron, max(activation) AS activation, \
         first_value(token ORDER BY activation DESC, position) AS token, \
         first_value(position ORDER BY activation DESC, position) AS position \
         FROM activations_on({}, {}, {}) WHERE activation > 0 GROUP BY model, hook_point, layer, neuron) f \
         LEFT JOIN (SELECT model, hook_point, neuron, nullif(max(max), 0) AS most FROM neurons GROUP BY model, hook_point, neuron) s \
         ON s.model = f.model AND s.hook_point = f.hook_point AND s.neuron = f.neuron \
         LEFT JOIN {EXPLAINED} x ON x.model = f.model AND x.hook_point = f.hook_point AND x.neuron = f.neuron",
        text(&command.model),
        text(&command.text),
        text(&command.hook),
    );
    let session = open(command.rows.lake.open().await?, SessionOptions::default())?;
    let query = command.rows.of(&query, "of_max DESC NULLS LAST, activation DESC, hook_point, neuron");
    sql::print_rows(&session, &query, command.rows.format).await
}

fn unit(text: &str) -> Result<(&str, u32)> {
    let fault = || Error::Argument {
        argument: "unit".to_owned(),
        expected: "hook_point:neuron, such as blocks.3.mlp.hook_post:7".to_owned(),
        got: text.to_owned(),
    };
    let (hook_point, neuron) = text.rsplit_once(':').ok_or_else(fault)?;
    Ok((hook_point, neuron.parse().map_err(|_| fault())?))
}
