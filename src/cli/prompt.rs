//! The interactive SQL prompt: statements over several lines, backslash commands, history and completion.
//!
//! The prompt knows no engine: an [`Executor`] runs the statements and writes their results.

use std::future::Future;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::cli::escape::escape;
use crate::cli::prompt::command::Command;
use crate::cli::prompt::complete::PromptHelper;
use crate::cli::prompt::statements::Statements;
use crate::cli::table::{Format, Layout};
use crate::error::{Error, Result};

mod command;
mod complete;
mod statements;

#[cfg(test)]
mod tests;

/// Shown before the first line of a statement, and before the others.
const PROMPT: &str = "neuronlake> ";
const CONTINUED: &str = "       ...> ";

/// Statements kept in the history file.
const HISTORY_SIZE: usize = 10_000;

/// Files that include each other end here.
const MAX_INCLUDE_DEPTH: usize = 16;

/// How results are to be shown, as the user has set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// `\format`
    pub format: Format,
    /// `\x`
    pub layout: Layout,
}

/// What can be completed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Tables and views.
    pub tables: Vec<String>,
    /// Columns of all tables.
    pub columns: Vec<String>,
    /// Functions of every kind.
    pub functions: Vec<String>,
}

/// What runs the statements of a prompt or a script.
pub trait Executor {
    /// Runs one statement (without the semicolon) and writes its result. Dropping the future must cancel the work: ^C does so.
    fn execute(&mut self, sql: &str, view: View) -> impl Future<Output = Result<()>>;

    /// The names that exist now; asked for before the first line and after every statement.
    fn names(&mut self) -> impl Future<Output = Names>;
}

/// Where the history is kept: `$XDG_STATE_HOME/neuronlake/history`, else `~/.local/state/neuronlake/history`, `None` without a home.
pub fn history_path(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    // The specification of these folders says to ignore relative paths.
    let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("neuronlake").join("history"))
}

/// Reads statements from the terminal until `\q` or ^D; a statement that fails is reported and the prompt goes on.
///
/// ^C clears the line, or stops the running statement.
///
/// # Errors
/// [`Error::Terminal`] if the terminal cannot be read, [`Error::Output`] if it cannot be written.
pub async fn run_prompt(executor: &mut impl Executor, view: View, history: Option<&Path>) -> Result<()> {
    let names = Arc::new(Mutex::new(executor.names().await));
    let mut editor = editor(Arc::clone(&names), history)?;
    let mut session = Session { view, statements: Statements::default() };
    loop {
        let prompt = if session.statements.is_empty() { PROMPT } else { CONTINUED };
        // Waiting for keys blocks, so it has a thread of its own; the editor goes there and comes back.
        let read = tokio::task::spawn_blocking(move || {
            let line = editor.readline(prompt);
            (editor, line)
        });
        let (returned, line) = read.await.map_err(|error| Error::Terminal { source: error.into() })?;
        editor = returned;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                session.statements.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Error::Terminal { source: error.into() }),
        };
        let actions = session.actions(&line);
        for action in &actions {
            // A history that cannot grow is no reason to stop.
            let _ = editor.add_history_entry(action.as_typed());
        }
        let mut go_on = true;
        for action in actions {
            let running = session.run(action, executor, 0);
            let outcome = tokio::select! {
                outcome = running => outcome,
                _ = tokio::signal::ctrl_c() => Ok(Next::Stopped),
            };
            match outcome {
                Ok(Next::GoOn) => {}
                Ok(Next::Quit) => go_on = false,
                Ok(Next::Stopped) => {
                    report("stopped")?;
                    break;
                }
                Err(error) => {
                    report(&chain(&error))?;
                    break;
                }
            }
            if !go_on {
                break;
            }
        }
        save_history(&mut editor, history);
        if !go_on {
            break;
        }
        let fresh = executor.names().await;
        *names.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }
    Ok(())
}

/// Runs the statements and commands of a file or a pipe; the last statement needs no semicolon.
///
/// # Errors
/// The first error of a statement ends the script; faults of the input are [`Error::Terminal`].
pub async fn run_script(executor: &mut impl Executor, view: View, input: impl BufRead) -> Result<()> {
    Session { view, statements: Statements::default() }.run_lines(input, executor, 0).await?;
    Ok(())
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Statement(String),
    Command { typed: String, command: std::result::Result<Command, String> },
}

impl Action {
    /// As it goes to the history.
    fn as_typed(&self) -> String {
        match self {
            Self::Statement(sql) => format!("{sql};"),
            Self::Command { typed, .. } => typed.clone(),
        }
    }
}

/// What happens after an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Quit,
    Stopped,
}

/// The state between two lines.
struct Session {
    view: View,
    statements: Statements,
}

impl Session {
    /// What a line completes.
    fn actions(&mut self, line: &str) -> Vec<Action> {
        let typed = line.trim();
        if self.statements.is_empty() && typed.starts_with('\\') {
            return vec![Action::Command { typed: typed.to_owned(), command: Command::parse(typed) }];
        }
        self.statements.push_line(line).into_iter().map(Action::Statement).collect()
    }

    async fn run(&mut self, action: Action, executor: &mut impl Executor, depth: usize) -> Result<Next> {
        let command = match action {
            Action::Statement(sql) => {
                executor.execute(&sql, self.view).await?;
                return Ok(Next::GoOn);
            }
            Action::Command { command, .. } => command,
        };
        match command {
            Err(reason) => return Err(Error::PromptCommand { reason }),
            Ok(Command::Quit) => return Ok(Next::Quit),
            Ok(Command::Tables) => executor.execute("SHOW TABLES", self.view).await?,
            Ok(Command::Columns(table)) => executor.execute(&format!("DESCRIBE {table}"), self.view).await?,
            Ok(Command::Functions) => executor.execute("SHOW FUNCTIONS", self.view).await?,
            Ok(Command::Expanded) => {
                let (layout, state) = match self.view.layout {
                    Layout::Rows => (Layout::Expanded, "on"),
                    Layout::Expanded => (Layout::Rows, "off"),
                };
                self.view.layout = layout;
                say(&format!("expanded layout is {state}"))?;
            }
            Ok(Command::Format(format)) => self.view.format = format,
            Ok(Command::Help) => say(command::HELP)?,
            Ok(Command::Include(path)) => {
                if depth >= MAX_INCLUDE_DEPTH {
                    let reason = format!("files include each other more than {MAX_INCLUDE_DEPTH} deep");
                    return Err(Error::PromptCommand { reason });
                }
                let file = std::fs::File::open(&path).map_err(|source| Error::File { path, source })?;
                // The file sees and sets the same view; boxed because the future contains itself.
                let input = io::BufReader::new(file);
                let mut included = Session { view: self.view, statements: Statements::default() };
                let next = Box::pin(included.run_lines(input, executor, depth + 1)).await?;
                self.view = included.view;
                return Ok(next);
            }
        }
        Ok(Next::GoOn)
    }

    async fn run_lines(&mut self, input: impl BufRead, executor: &mut impl Executor, depth: usize) -> Result<Next> {
        for line in input.lines() {
            let line = line.map_err(|error| Error::Terminal { source: error.into() })?;
            for action in self.actions(&line) {
                if self.run(action, executor, depth).await? == Next::Quit {
                    return Ok(Next::Quit);
                }
            }
        }
        match self.statements.take_rest() {
            Some(sql) => self.run(Action::Statement(sql), executor, depth).await,
            None => Ok(Next::GoOn),
        }
    }
}

fn editor(names: Arc<Mutex<Names>>, history: Option<&Path>) -> Result<Editor<PromptHelper, DefaultHistory>> {
    let fault = |error: ReadlineError| Error::Terminal { source: error.into() };
    let config = Config::builder()
        .max_history_size(HISTORY_SIZE)
        .map_err(fault)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config).map_err(fault)?;
    editor.set_helper(Some(PromptHelper::new(names)));
    if let Some(path) = history {
        // There is none at the first start.
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

/// Writes the history after every line, so that it survives whatever ends the program.
fn save_history(editor: &mut Editor<PromptHelper, DefaultHistory>, path: Option<&Path>) {
    let Some(path) = path else { return };
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    if let Err(error) = editor.append_history(path) {
        tracing::debug!(%error, "history not saved");
    }
}

/// An error with its causes on one safe line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    // Messages of the SQL parser have several lines that are meant as such.
    let lines: Vec<_> = text.lines().map(escape).collect();
    format!("error: {}", lines.join("\n"))
}

fn say(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").map_err(|source| Error::Output { source })
}

fn report(text: &str) -> Result<()> {
    writeln!(io::stderr(), "{text}").map_err(|source| Error::Output { source })
}
