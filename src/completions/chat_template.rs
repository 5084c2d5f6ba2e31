//! Conversations as one text, by the Jinja template that a model's files hold.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};

use super::request::{Message, Role};
use crate::error::{Error, Result};

/// The day that templates are told it is: a prompt, and with it the key of its reply, must not change from day to day.
/// Llama 3.1's own template falls back to this date.
const TODAY: [(&str, &str); 8] = [
    ("%d", "26"),
    ("%b", "Jul"),
    ("%B", "July"),
    ("%m", "07"),
    ("%Y", "2024"),
    ("%H", "00"),
    ("%M", "00"),
    ("%S", "00"),
];

/// A chat template ready to render.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Option<Environment<'static>>,
    bos_token: String,
    eos_token: String,
    model: String,
}

impl ChatTemplate {
    /// A template in Jinja; without one, turns are written as `User:` and `Assistant:`.
    ///
    /// Templates run as in transformers' `apply_chat_template`: blocks leave no blank lines, Python's string methods work,
    /// `raise_exception` and `strftime_now` are there. The latter is given 26 July 2024, always.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] if it is no template; `model` is for messages.
    pub fn new(template: Option<String>, bos_token: String, eos_token: String, model: &str) -> Result<Self> {
        let mut environment = None;
        if let Some(template) = template {
            let mut jinja = Environment::new();
            let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
            jinja.set_syntax(whitespace.map_err(|e| fault(model, &e))?);
            jinja.set_undefined_behavior(UndefinedBehavior::Lenient);
            jinja.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
            jinja.add_function("raise_exception", raise_exception);
            jinja.add_function("strftime_now", strftime_now);
            jinja.add_template_owned("chat", template).map_err(|e| fault(model, &e))?;
            environment = Some(jinja);
        }
        Ok(Self { environment, bos_token, eos_token, model: model.to_owned() })
    }

    /// Whether the model's files had a template.
    pub fn from_files(&self) -> bool {
        self.environment.is_some()
    }

    /// The conversation as text, up to where the model's next turn begins.
    ///
    /// A template that refuses a system's turn gets its text at the start of the first user's turn instead.
    ///
    /// # Errors
    /// [`Error::ModelFormat`] with what the template said if it refuses the conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let Some(environment) = &self.environment else {
            return Ok(plain(messages));
        };
        let rendered = self.apply(environment, messages);
        match (rendered, messages) {
            (Err(_), [system, user, rest @ ..]) if system.role == Role::System && user.role == Role::User => {
                let merged = Message::user(format!("{}\n\n{}", system.content, user.content));
                let messages: Vec<Message> = std::iter::once(merged).chain(rest.iter().cloned()).collect();
                self.apply(environment, &messages).map_err(|e| fault(&self.model, &e))
            }
            (rendered, _) => rendered.map_err(|e| fault(&self.model, &e)),
        }
    }

    fn apply(
        &self,
        environment: &Environment<'static>,
        messages: &[Message],
    ) -> std::result::Result<String, minijinja::Error> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                context! { role => role(message.role), content => message.content.as_str() }
            })
            .collect();
        let conversation = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
        };
        environment.get_template("chat")?.render(conversation)
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// A conversation for a model without a template: a text that goes on as a conversation would.
fn plain(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        let speaker = match message.role {
            Role::System => "",
            Role::User => "User: ",
            Role::Assistant => "Assistant: ",
        };
        text.push_str(speaker);
        text.push_str(&message.content);
        text.push_str("\n\n");
    }
    text.push_str("Assistant:");
    text
}

fn raise_exception(reason: String) -> std::result::Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
}

fn strftime_now(format: String) -> String {
    TODAY.iter().fold(format, |text, (code, value)| text.replace(code, value))
}

fn fault(model: &str, error: &minijinja::Error) -> Error {
    let reason = format!("chat template: {error}");
    Error::ModelFormat { path: model.into(), reason }
}

#[cfg(test)]
mod tests;
