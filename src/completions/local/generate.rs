//! Replies, token by token, for many prompts side by side.

use super::super::reply::{Finish, GeneratedToken, Reply};
use super::super::request::{Call, Request};
use super::{Loaded, results};
use crate::error::{Error, Result};
use crate::models::generation::extension::Extender;
use crate::models::generation::key_values::Keep;
use crate::models::generation::placement::Backend;
use crate::models::generation::prefix_tree::{Leaf, Prompt, Run};
use crate::models::generation::runner::{Extension, Runner};
use crate::models::generation::sampling::{Distribution, Sampling};
use crate::models::tokenizer::Tokenizer;
use crate::random::mix;

/// Tokens of prompts and replies that are held together.
const BATCH_TOKENS: usize = 4096;

/// A reply in the making.
struct Draft<'a> {
    request: &'a Request,
    seed: u64,
    prompt_tokens: usize,
    bytes: Vec<u8>,
    /// Generated tokens, each with the number of bytes before it; only where log-probabilities were asked for.
    tokens: Vec<(usize, GeneratedToken)>,
    n_generated: u32,
    finish: Option<Finish>,
}

/// One drawn token.
struct Drawn {
    token_id: u32,
    log_probability: f64,
    alternatives: Vec<(u32, f64)>,
}

impl Loaded {
    pub(super) fn complete_all(&self, calls: &[Call], stopped: &(dyn Fn() -> bool + Sync)) -> Vec<Result<Reply>> {
        let mut replies = Vec::with_capacity(calls.len());
        let (mut prompts, mut drafts) = (Vec::new(), Vec::new());
        for (i, call) in calls.iter().enumerate() {
            match self.draft(call) {
                Err(error) => replies.push(Some(Err(error))),
                Ok((_, draft)) if draft.finish.is_some() => replies.push(Some(Ok(draft.into_reply()))),
                Ok((prompt, draft)) => {
                    replies.push(None);
                    prompts.push(prompt);
                    drafts.push((i, Some(draft)));
                }
            }
        }
        let mut add = |i: usize, draft: Draft<'_>| replies[i] = Some(Ok(draft.into_reply()));
        let ran = match &self.backend {
            Backend::Cpu => self.draw(&mut Extender::new(&self.model), &prompts, &mut drafts, &mut add, stopped),
            Backend::Device(decoder) => {
                decoder.runner().and_then(|mut runner| self.draw(&mut runner, &prompts, &mut drafts, &mut add, stopped))
            }
        };
        results(replies, ran)
    }

    /// Draws the replies to prompts; `drafts` are each prompt's, with a number that is handed to `add` with it.
    fn draw<'a, R: Runner>(
        &self,
        runner: &mut R,
        prompts: &[Prompt],
        drafts: &mut [(usize, Option<Draft<'a>>)],
        add: &mut dyn FnMut(usize, Draft<'a>),
        stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let run = Run { prompts, keep: Keep::All, batch_tokens: BATCH_TOKENS, stopped };
        run.visit(runner, &mut |runner, leaves| {
            let mut batch: Vec<Draft<'_>> = leaves.iter().filter_map(|leaf| drafts[leaf.prompt].1.take()).collect();
            self.finish(runner, leaves, prompts, &mut batch, stopped)?;
            for (leaf, draft) in leaves.iter().zip(batch) {
                add(drafts[leaf.prompt].0, draft);
            }
            Ok(())
        })
    }

    fn draft<'a>(&self, call: &'a Call) -> Result<(Prompt, Draft<'a>)> {
        let token_ids = self.prompts.conversation(&call.request.messages)?;
        let n_reserved = call.request.max_tokens as usize;
        self.check_length(token_ids.len() + n_reserved)?;
        if token_ids.is_empty() {
            return Err(Error::Internal { reason: "local model: expected a prompt of at least one token".to_owned() });
        }
        let draft = Draft {
            request: &call.request,
            // 64 bits of the key: the same call draws the same reply anywhere.
            seed: u64::from_str_radix(&call.key(&self.name)[..16], 16).unwrap_or(0),
            prompt_tokens: token_ids.len(),
            bytes: Vec::new(),
            tokens: Vec::new(),
            n_generated: 0,
            finish: (call.request.max_tokens == 0).then_some(Finish::Length),
        };
        Ok((Prompt { n_shareable: token_ids.len() - 1, token_ids, n_reserved }, draft))
    }

    /// Draws tokens for prompts that were run until every reply has ended.
    fn finish<R: Runner>(
        &self,
        runner: &mut R,
        leaves: &mut [Leaf<R::Sequence>],
        prompts: &[Prompt],
        drafts: &mut [Draft<'_>],
        stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let tokenizer = self.model.tokenizer()?;
        let mut active: Vec<usize> = (0..leaves.len()).collect();
        let last = |leaf: &Leaf<R::Sequence>| leaf.row(prompts[leaf.prompt].token_ids.len() - 1);
        let mut rows: Vec<usize> = leaves.iter().map(last).collect();
        loop {
            let drawn = runner.read(&rows, |i, logits| drafts[active[i]].draw(logits))?;
            let mut next = Vec::with_capacity(drawn.len());
            for (draft, drawn) in active.iter().zip(drawn) {
                let token_id = drawn.token_id;
                if drafts[*draft].add(drawn, tokenizer, &self.end_token_ids).is_none() {
                    next.push((*draft, token_id));
                }
            }
            if next.is_empty() {
                return Ok(());
            }
            if stopped() {
                return Err(Error::Interrupted);
            }
            let mut going = next.iter().peekable();
            let mut extensions = Vec::with_capacity(next.len());
            for (i, leaf) in leaves.iter_mut().enumerate() {
                if let Some((_, token_id)) = going.next_if(|(draft, _)| *draft == i) {
                    let token_ids = std::slice::from_ref(token_id);
                    extensions.push(Extension { sequence: &mut leaf.sequence, token_ids });
                }
            }
            runner.extend(&mut extensions)?;
            active = next.iter().map(|(draft, _)| *draft).collect();
            rows = (0..active.len()).collect();
        }
    }
}

impl Draft<'_> {
    fn draw(&self, logits: &[f32]) -> Drawn {
        let distribution = Distribution::new(logits);
        let sampling = Sampling { temperature: self.request.temperature, top_p: self.request.top_p };
        let uniform = (mix(self.seed, u64::from(self.n_generated), 0) >> 11) as f64 / (1_u64 << 53) as f64;
        let token_id = distribution.pick(sampling, uniform);
        Drawn {
            token_id,
            log_probability: distribution.log_probability(token_id),
            alternatives: distribution.top(self.request.top_logprobs as usize),
        }
    }

    /// Adds a token and says whether that ends the reply.
    fn add(&mut self, drawn: Drawn, tokenizer: &Tokenizer, end_token_ids: &[u32]) -> Option<Finish> {
        self.n_generated += 1;
        if end_token_ids.binary_search(&drawn.token_id).is_ok() {
            self.finish = Some(Finish::Stop);
            return self.finish;
        }
        if self.request.top_logprobs > 0 {
            let text = |(id, value): (u32, f64)| (tokenizer.token_text(id), value);
            let token = GeneratedToken {
                text: tokenizer.token_text(drawn.token_id),
                log_probability: drawn.log_probability,
                alternatives: drawn.alternatives.into_iter().map(text).collect(),
            };
            self.tokens.push((self.bytes.len(), token));
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(tokenizer.token_bytes(drawn.token_id));
        let stops = self.request.stop.iter().filter(|stop| !stop.is_empty());
        let ends = stops.filter_map(|stop| {
            // A stop text that ends in the new token begins at most its own length before it.
            let from = before.saturating_sub(stop.len() - 1);
            self.bytes[from..].windows(stop.len()).position(|bytes| bytes == stop.as_bytes()).map(|at| from + at)
        });
        if let Some(end) = ends.min() {
            self.bytes.truncate(end);
            self.tokens.retain(|(start, _)| *start < end);
            self.finish = Some(Finish::Stop);
        } else if self.n_generated >= self.request.max_tokens {
            self.finish = Some(Finish::Length);
        }
        self.finish
    }

    fn into_reply(self) -> Reply {
        Reply {
            text: String::from_utf8_lossy(&self.bytes).into_owned(),
            finish: self.finish.unwrap_or(Finish::Other),
            tokens: self.tokens.into_iter().map(|(_, token)| token).collect(),
            prompt_tokens: self.prompt_tokens as u32,
            completion_tokens: self.n_generated,
            cost: Some(0.0),
            key: None,
        }
    }
}
