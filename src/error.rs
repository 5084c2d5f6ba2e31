//! The one error type: a variant per fault that a caller may act on, with its data.

use std::io;
use std::path::PathBuf;

use datafusion::error::DataFusionError;

pub mod autoencoder;
pub mod collector;
pub mod corpus;
pub mod device;
mod engine;
mod status;

use engine::in_words;

/// `Result` with the crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whatever can go wrong, grouped by whose fault it is (see [`Error::exit_code`]).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // The user's fault.
    /// A command line or parameter that cannot be used.
    #[error("{argument}: expected {expected}, got '{got}'")]
    Argument {
        /// The flag or parameter.
        argument: String,
        /// What it takes.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A hook point that the model does not have.
    #[error("the model has no hook point '{name}'{}", nearest_hint(nearest))]
    HookPointUnknown {
        /// The name or pattern asked for.
        name: String,
        /// The hook point with the most similar name.
        nearest: Option<String>,
    },
    /// A neuron index past the end of its hook point.
    #[error("--neurons: hook point '{hook_point}' has neurons 0 to {}, got {neuron}", n_neurons - 1)]
    NeuronOutOfRange {
        /// The hook point.
        hook_point: String,
        /// The index asked for.
        neuron: u32,
        /// Width of the hook point.
        n_neurons: usize,
    },
    /// A query that would score an explanation on what its explainer saw.
    #[error(
        "refused: '{function}' reads table '{table}' without excluding split 'train', which the explainer saw; \
         add a condition such as split = 'valid'"
    )]
    Leak {
        /// The function that simulates or scores.
        function: String,
        /// The table it reads.
        table: String,
    },
    /// No query of that name in `queries/`.
    #[error("no query '{name}'{}", nearest_hint(nearest))]
    QueryUnknown {
        /// The name asked for.
        name: String,
        /// The query with the most similar name.
        nearest: Option<String>,
    },
    /// What a server was not started to do.
    #[error("refused: {what}: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Why it is not given.
        reason: String,
    },
    /// An address that cannot be listened at.
    #[error("address {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A limit of a server stopped a query.
    #[error(transparent)]
    Limit(#[from] crate::server::limits::LimitReached),
    /// A pipeline file that cannot be run.
    #[error(transparent)]
    PipelineFile(#[from] crate::pipeline::file::faults::PipelineFaults),
    /// Something that is not at the place it was looked for.
    #[error("{kind} '{path}' does not exist")]
    Missing {
        /// What was looked for, e.g. "lake".
        kind: &'static str,
        /// Where.
        path: String,
    },

    // The data's fault.
    /// A file that cannot be read or written.
    #[error("file '{}': {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A lake whose rows for the same model and corpus were made with other settings.
    #[error(
        "stage '{stage}': this lake's rows for the same model and corpus were made with {setting} {expected}, got {got}; use \
         the same, or another --lake"
    )]
    SettingsChanged {
        /// The stage.
        stage: String,
        /// What differs.
        setting: String,
        /// The value in the lake.
        expected: String,
        /// The value of this run.
        got: String,
    },
    /// A model and corpus without token sequences.
    #[error(
        "no token sequences of model '{model}' and corpus '{corpus}': expected stage 'token_sequences' to have run"
    )]
    SequencesMissing {
        /// The model's id.
        model: String,
        /// The corpus id.
        corpus: String,
    },
    /// A batch that does not fit the table it is written to.
    #[error("table '{table}', column '{column}': expected {expected}, got {got}")]
    Batch {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the schema file asks for.
        expected: String,
        /// What the batch holds.
        got: String,
    },
    /// A lake whose tables this version does not know.
    #[error(
        "lake table '{path}' was written by another version of neuronlake: column '{column}': expected {expected}, got {got}"
    )]
    LakeVersion {
        /// The table's location.
        path: String,
        /// The first column that differs.
        column: String,
        /// What this version writes.
        expected: String,
        /// What is stored.
        got: String,
    },
    /// A schema file or a pipeline query that breaks the rules of its folder (our own file, or one from `--queries`).
    #[error("query file '{file}': {reason}")]
    QueryFile {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },

    /// An object store or web server refused or failed.
    #[error("cannot read '{url}'")]
    Store {
        /// The address.
        url: String,
        /// What the store said.
        source: Box<object_store::Error>,
    },
    /// The object store that a lake lies in refused or cannot be reached.
    #[error("lake '{lake}': {reason}")]
    LakeStore {
        /// Address of the lake.
        lake: String,
        /// What the store said, and what to look at; no secret.
        reason: String,
    },
    /// Output could not be written.
    #[error("cannot write the output")]
    Output {
        /// What the operating system said; `BrokenPipe` when the reader has gone.
        source: io::Error,
    },
    /// A result that this output format cannot hold.
    #[error("cannot write the result as {format}")]
    OutputFormat {
        /// Name of the format.
        format: &'static str,
        /// What the encoder said.
        source: arrow::error::ArrowError,
    },
    /// The interactive line editor failed.
    #[error("cannot read from the terminal")]
    Terminal {
        /// What the line editor said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Whatever is wrong with a collection of activations.
    #[error(transparent)]
    Collector(#[from] collector::CollectorError),
    /// A split name that does not exist (the user's or the data's fault).
    #[error("expected a split (train, calibration, valid, test, pool), got '{got}'")]
    SplitUnknown {
        /// The name that was read.
        got: String,
    },
    /// A split strategy that does not exist (the user's fault).
    #[error("expected a split strategy (document, paper), got '{got}'")]
    SplitStrategyUnknown {
        /// The name that was read.
        got: String,
    },
    /// Split fractions that are no distribution (the user's fault).
    #[error("split fractions: expected four numbers in 0..=1 that add up to 1, got {got:?}")]
    SplitFractions {
        /// The fractions of train, calibration, valid and test.
        got: [f64; 4],
    },
    /// A metric name that does not exist (the user's fault).
    #[error(
        "expected a metric (ev_correlation, explained_variance, rsquared_uncentred, absolute_dev_explained), got '{got}'"
    )]
    MetricUnknown {
        /// The name that was read.
        got: String,
    },
    /// Two series that should be parallel are not.
    #[error("actual and expected activations: expected equal lengths, got {actual} and {expected}")]
    LengthMismatch {
        /// Number of actual activations.
        actual: usize,
        /// Number of expected activations.
        expected: usize,
    },

    /// A model file does not hold what its format promises.
    #[error("model file '{}': {reason}", path.display())]
    ModelFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No model has this name: it is neither a folder or file nor an embedded model.
    #[error("model '{}' not found: {reason}", path.display())]
    ModelNotFound {
        /// The folder or file looked for.
        path: PathBuf,
        /// What was expected there.
        reason: String,
    },
    /// A model of a kind the engine has no decoder for.
    #[error("model '{}': unsupported architecture: expected {supported}, got '{got}'", path.display())]
    UnsupportedArchitecture {
        /// The file that names the architecture.
        path: PathBuf,
        /// What it names.
        got: String,
        /// What would be supported.
        supported: String,
    },
    /// A model file lacks a tensor.
    #[error("model file '{}': tensor '{name}' is missing, expected shape {expected:?}", path.display())]
    TensorMissing {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape according to the configuration.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("model file '{}': tensor '{name}': expected shape {expected:?}, got {got:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape according to the configuration.
        expected: Vec<usize>,
        /// Its shape in the file.
        got: Vec<usize>,
    },
    /// A tokenizer is missing or damaged.
    #[error("tokenizer '{}': {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer's vocabulary does not fit the model's embedding.
    #[error("tokenizer '{}': expected at most {expected} token ids, as the model embeds, got {got}", path.display())]
    VocabularySize {
        /// The tokenizer's file.
        path: PathBuf,
        /// Rows of the model's embedding.
        expected: usize,
        /// One more than the tokenizer's largest id.
        got: usize,
    },
    /// A token id the model does not embed.
    #[error("token id {token_id}: expected an id below {n_vocab}")]
    TokenOutOfRange {
        /// The id.
        token_id: u32,
        /// Rows of the model's embedding.
        n_vocab: usize,
    },
    /// A token sequence longer than the model's context.
    #[error("token sequence: expected at most {expected} tokens, got {got}")]
    SequenceTooLong {
        /// The model's context length, in tokens.
        expected: usize,
        /// Length of the sequence, in tokens.
        got: usize,
    },
    /// A model cannot be fetched from the hub.
    #[error("hub repository '{repository}' revision '{revision}': {reason}")]
    Hub {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// What went wrong and what to do.
        reason: String,
    },
    /// A backslash command of the prompt that is unknown or has a wrong argument.
    #[error("{reason}")]
    PromptCommand {
        /// What was expected and what was found.
        reason: String,
    },

    // Language models: the user's, the endpoint's or the network's fault.
    /// A method (explainer, simulator or scorer) that does not exist.
    #[error("{kind}: expected one of {}, got '{got}'", known.join(", "))]
    MethodUnknown {
        /// `explainer`, `simulator` or `scorer`.
        kind: &'static str,
        /// Every method of that kind.
        known: Vec<&'static str>,
        /// What was asked for.
        got: String,
    },
    /// A method that needs a language model was named without one, or the other way round.
    #[error("{kind} '{method}': {reason}")]
    MethodModel {
        /// `explainer`, `simulator` or `scorer`.
        kind: &'static str,
        /// The method.
        method: String,
        /// What was expected and how to write it.
        reason: String,
    },
    /// No key for an endpoint that wants one.
    #[error("model '{model}': expected a key in the environment variable {variable}, found none")]
    ApiKeyMissing {
        /// The model asked for.
        model: String,
        /// Where the key is looked for.
        variable: String,
    },
    /// The endpoint refused the key.
    #[error("model '{model}': the endpoint refused the key in {variable} (HTTP status {status})")]
    ApiKeyRefused {
        /// The model asked for.
        model: String,
        /// Where the key was found.
        variable: String,
        /// 401 or 403.
        status: u16,
    },
    /// The endpoint will never answer this request.
    #[error("model '{model}': the endpoint '{endpoint}' refused the request (HTTP status {status}): {reason}")]
    CompletionRefused {
        /// The model asked for.
        model: String,
        /// The endpoint's address, without secrets.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// What it said, shortened.
        reason: String,
    },
    /// The endpoint did not answer, however often it was asked.
    #[error(
        "model '{model}': no reply from '{endpoint}' after {tries} tries: {reason}; what was answered is kept, run the same command again to go on"
    )]
    CompletionFailed {
        /// The model asked for.
        model: String,
        /// The endpoint's address, without secrets.
        endpoint: String,
        /// Tries made.
        tries: u32,
        /// The last fault.
        reason: String,
    },
    /// A reply that is not what the endpoint's own interface promises.
    #[error("model '{model}': malformed reply: {reason}")]
    ReplyMalformed {
        /// The model asked for.
        model: String,
        /// What was expected and what was there.
        reason: String,
    },
    /// A prompt that does not fit the model's context, with every example dropped that could be.
    #[error("model '{model}': the prompt needs {needed} tokens with its reply, {} more than the context of {context_length}", needed - context_length)]
    ContextTooShort {
        /// The model.
        model: String,
        /// Tokens of prompt and reply.
        needed: usize,
        /// What the model can hold.
        context_length: usize,
    },
    /// A method that reads log-probabilities from a model that gives none.
    #[error("model '{model}': {what} needs {kind}, which this engine does not give; {instead}")]
    LogProbabilitiesMissing {
        /// The model.
        model: String,
        /// The method that asked.
        what: String,
        /// `log-probabilities inside the prompt` or `log-probabilities of the reply`.
        kind: &'static str,
        /// Which methods work.
        instead: String,
    },
    /// An endpoint whose echoed log-probabilities belong to the neighbouring token.
    #[error(
        "model '{model}': the endpoint '{endpoint}' shifts its echoed log-probabilities by one token (a known fault of some servers), so values read there would be wrong; use one_at_a_time or log_probability_free"
    )]
    LogProbabilitiesShifted {
        /// The model.
        model: String,
        /// The endpoint's address, without secrets.
        endpoint: String,
    },
    /// The next call could cost more than is left.
    #[error("budget reached: {spent} of {budget} spent; {done}; run the same command with a larger --budget to go on")]
    BudgetReached {
        /// What was spent, with its unit.
        spent: String,
        /// What may be spent, with its unit.
        budget: String,
        /// What is done, and what the rest would cost as far as is known.
        done: String,
    },
    /// A budget in dollars for a model without a price.
    #[error(
        "model '{model}': no price known, so a budget in dollars cannot be kept; add it to '{prices}' or give the budget in tokens"
    )]
    PriceUnknown {
        /// The model.
        model: String,
        /// The price table.
        prices: String,
    },
    /// The store of replies cannot be read or written.
    #[error("store of replies '{}': {reason}", path.display())]
    CompletionStore {
        /// The file or folder.
        path: PathBuf,
        /// What was expected and what happened.
        reason: String,
    },
    /// A simulator or judge that cannot tell right from wrong explanations.
    #[error("{kind} '{method}' cannot tell true from false explanations: {found}; use another, or --force")]
    Untrustworthy {
        /// `simulator` or `scorer`.
        kind: &'static str,
        /// The method and its model.
        method: String,
        /// How often it ranked the true explanation first.
        found: String,
    },

    // The engine's or the network's fault.
    /// The device that a language model is computed on.
    #[error(transparent)]
    Device(#[from] device::DeviceError),
    /// Files exchanged with other programs.
    #[error(transparent)]
    Exchange(#[from] crate::exchange::fault::ExchangeError),
    /// Ctrl-C.
    #[error("interrupted; what was committed stays, run the same command again to go on")]
    Interrupted,
    /// Delta Lake refused.
    #[error(transparent)]
    Delta(#[from] deltalake::DeltaTableError),
    /// Rows could not be made part of a table; those committed before stay.
    #[error("cannot write table '{table}'")]
    TableWrite {
        /// The table.
        table: String,
        /// What the store said.
        source: Box<deltalake::DeltaTableError>,
    },
    /// Another writer of the same rows was faster; the table holds theirs.
    #[error("table '{table}': another process wrote the same units at the same time")]
    Overtaken {
        /// The table.
        table: String,
    },
    /// The engine refused a plan or failed while running it.
    #[error("{}", in_words(.0))]
    DataFusion(Box<DataFusionError>),
    /// The files of a corpus.
    #[error(transparent)]
    Corpus(#[from] corpus::CorpusError),
    /// A search or its index.
    #[error(transparent)]
    Search(#[from] crate::search::error::SearchError),
    /// Stored activations or a sparse autoencoder.
    #[error(transparent)]
    Autoencoder(#[from] autoencoder::AutoencoderError),
    /// Arrow refused.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// Our bug.
    #[error("internal error, please report it: {reason}")]
    Internal {
        /// What was found that cannot be.
        reason: String,
    },
}

fn nearest_hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; the nearest is '{name}'")).unwrap_or_default()
}
