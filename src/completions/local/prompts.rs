//! Conversations as tokens: the template's special tokens are special, the same texts inside a message are text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::chat_template::ChatTemplate;
use super::super::request::Message;
use crate::error::Result;
use crate::models::subject_model::SubjectModel;

/// Characters that no text has (Unicode's noncharacters): one of them marks what looks like a special token inside a message.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// Texts whose tokens are remembered, at most: simulations repeat the same few pieces thousands of times.
const REMEMBERED: usize = 20_000;

/// Turns conversations and texts into tokens.
#[derive(Debug)]
pub(super) struct Prompts {
    model: Arc<SubjectModel>,
    template: ChatTemplate,
    /// Names of special tokens, longest first.
    special: Vec<(String, u32)>,
    bos_token_id: Option<u32>,
    starts_with_bos: bool,
    remembered: Mutex<HashMap<String, Arc<[u32]>>>,
}

impl Prompts {
    pub(super) fn new(
        model: Arc<SubjectModel>,
        template: ChatTemplate,
        bos_token_id: Option<u32>,
        starts_with_bos: bool,
    ) -> Result<Self> {
        let mut special = model.tokenizer()?.special_tokens();
        special.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.cmp(b)));
        let remembered = Mutex::default();
        Ok(Self { model, template, special, bos_token_id, starts_with_bos, remembered })
    }

    /// The prompt of a conversation, up to where the model's turn begins.
    ///
    /// A special token's name inside a message is cut into the tokens of its letters, so no message can end its own turn.
    pub(super) fn conversation(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let used = |mark: &char| messages.iter().any(|message| message.content.contains(*mark));
        let mark = MARKS.into_iter().find(|mark| !used(mark)).unwrap_or(*MARKS.start());
        let marked: Vec<Message> = messages
            .iter()
            .map(|message| Message { role: message.role, content: self.mark(&message.content, mark) })
            .collect();
        let text = self.template.render(&marked)?;
        let mut token_ids = Vec::new();
        if !self.template.from_files() && self.starts_with_bos {
            token_ids.extend(self.bos_token_id);
        }
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let found = self.next_special(rest);
            let (before, after) = match found {
                Some((at, name, _)) => (&rest[..at], &rest[at + name.len()..]),
                None => (rest, ""),
            };
            token_ids.extend_from_slice(&self.plain(&before.replace(mark, ""))?);
            token_ids.extend(found.map(|(_, _, token_id)| token_id));
            rest = after;
        }
        Ok(token_ids)
    }

    /// A text's tokens, in which no special token is recognised.
    pub(super) fn plain(&self, text: &str) -> Result<Arc<[u32]>> {
        if text.is_empty() {
            return Ok(Arc::from([]));
        }
        let remembered = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token_ids) = remembered().get(text) {
            return Ok(Arc::clone(token_ids));
        }
        let token_ids: Arc<[u32]> = self.model.tokenizer()?.encode_plain(text)?.into();
        let mut remembered = remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(text.to_owned(), Arc::clone(&token_ids));
        Ok(token_ids)
    }

    /// The tokens that stand before a text outside any conversation.
    pub(super) fn start(&self, prefix: &[u32]) -> Vec<u32> {
        // A text with nothing before it still needs a token to be predicted from.
        let bos = self.bos_token_id.filter(|_| self.starts_with_bos || prefix.is_empty());
        bos.into_iter().chain(prefix.iter().copied()).collect()
    }

    /// The first special token's name in a text, the longest of those that begin there, with its id.
    fn next_special(&self, text: &str) -> Option<(usize, &str, u32)> {
        let found =
            self.special.iter().filter_map(|(name, token_id)| Some((text.find(name)?, name.as_str(), *token_id)));
        // `min_by_key` takes the first of several: the longest.
        found.min_by_key(|(at, _, _)| *at)
    }

    /// Breaks every special token's name in a text with a mark after its first character.
    fn mark(&self, text: &str, mark: char) -> String {
        let (mut marked, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((at, name, _)) = self.next_special(rest) {
            let first = name.chars().next().map_or(1, char::len_utf8);
            marked.push_str(&rest[..at + first]);
            marked.push(mark);
            // What follows may hold the rest of the name, or another that overlaps it.
            rest = &rest[at + first..];
        }
        marked.push_str(rest);
        marked
    }
}
