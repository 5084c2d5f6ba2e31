//! Token sequences with common beginnings, each beginning run once.

use std::sync::Arc;

use super::key_values::Keep;
use super::runner::{Extension, Runner};
use crate::error::{Error, Result};

/// Tokens that sharing a beginning must save at least: every segment costs some padding and memory.
const LEAST_SAVED: usize = 32;

/// Tokens of the shortest beginning that becomes a segment.
const SHORTEST_SEGMENT: usize = 8;

/// Tokens of shared beginnings that are run in one go, unless one alone is longer.
const SEGMENT_BATCH: usize = 1024;

/// A token sequence to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens, at least one.
    pub token_ids: Vec<u32>,
    /// How many of the first tokens other prompts may share; the rows of the others can be read. Never all tokens.
    pub n_shareable: usize,
    /// Tokens that will be added later, which memory is set aside for.
    pub n_reserved: usize,
}

impl Prompt {
    /// The part that may be shared.
    fn key(&self) -> &[u32] {
        &self.token_ids[..self.n_shareable.min(self.token_ids.len().saturating_sub(1))]
    }
}

/// A beginning that several prompts share, after its parent's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    parent: Option<usize>,
    /// One of the prompts that begin with it.
    prompt: usize,
    /// Its tokens in that prompt.
    start: usize,
    end: usize,
}

/// Which beginnings are run once, and which of them each prompt goes on after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// A parent stands before its children.
    nodes: Vec<Node>,
    /// For each prompt the last node it begins with.
    last_nodes: Vec<Option<usize>>,
}

/// Prompts `order[from..to]` share their first `depth` tokens; the first `computed` of these are in `parent`.
struct Group {
    from: usize,
    to: usize,
    computed: usize,
    depth: usize,
    parent: Option<usize>,
}

impl Plan {
    /// Finds the common beginnings that are worth a segment.
    pub fn new(prompts: &[Prompt]) -> Self {
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by(|a, b| prompts[*a].key().cmp(prompts[*b].key()));
        let mut plan = Self { nodes: Vec::new(), last_nodes: vec![None; prompts.len()] };
        let mut groups = vec![Group { from: 0, to: order.len(), computed: 0, depth: 0, parent: None }];
        while let Some(Group { from, to, computed, depth, parent }) = groups.pop() {
            let key = |i: usize| prompts[order[i]].key();
            let mut start = from;
            while start < to {
                // Prompts that end here stand first in the order: they go on after the parent, each by itself.
                let next = key(start).get(depth);
                let end = (start + 1..to).find(|i| key(*i).get(depth) != next).unwrap_or(to);
                if next.is_none() || end - start == 1 {
                    order[start..end].iter().for_each(|prompt| plan.last_nodes[*prompt] = parent);
                } else {
                    // In sorted order the first and the last have the least in common.
                    let common = key(start).iter().zip(key(end - 1)).take_while(|(a, b)| a == b).count();
                    let n = common - computed;
                    let worth = n >= SHORTEST_SEGMENT && n * (end - start - 1) >= LEAST_SAVED;
                    let (parent, computed) = if worth {
                        plan.nodes.push(Node { parent, prompt: order[start], start: computed, end: common });
                        (Some(plan.nodes.len() - 1), common)
                    } else {
                        (parent, computed)
                    };
                    groups.push(Group { from: start, to: end, computed, depth: common, parent });
                }
                start = end;
            }
        }
        plan
    }

    /// Tokens that are run for these prompts, shared beginnings once.
    pub fn n_tokens(&self, prompts: &[Prompt]) -> usize {
        let nodes: usize = self.nodes.iter().map(|node| node.end - node.start).sum();
        let own = prompts.iter().zip(&self.last_nodes).map(|(prompt, node)| prompt.token_ids.len() - self.end(*node));
        nodes + own.sum::<usize>()
    }

    fn end(&self, node: Option<usize>) -> usize {
        node.map_or(0, |node| self.nodes[node].end)
    }
}

/// A prompt whose tokens were all run.
#[derive(Debug)]
pub struct Leaf<S> {
    /// Which prompt.
    pub prompt: usize,
    /// Its keys and values.
    pub sequence: S,
    /// The row of its token `token` is `first_row + token - first_token` in [`Runner::read`].
    pub first_row: usize,
    /// The first token that has a row; the ones before were shared.
    pub first_token: usize,
}

impl<S> Leaf<S> {
    /// The row of one of the prompt's tokens that were not shared.
    pub fn row(&self, token: usize) -> usize {
        self.first_row + token - self.first_token
    }
}

/// How prompts are run.
pub struct Run<'a> {
    /// The prompts.
    pub prompts: &'a [Prompt],
    /// Whether the visitor extends the leaves' sequences.
    pub keep: Keep,
    /// Tokens of leaves, with those reserved, that are visited together, unless one alone has more.
    pub batch_tokens: usize,
    /// Asked before every step; the run ends with [`Error::Interrupted`] when it answers true.
    pub stopped: &'a (dyn Fn() -> bool + Sync),
}

/// What is done with prompts whose tokens were run, while their rows can be read.
pub type Visit<'a, R> = dyn FnMut(&mut R, &mut [Leaf<<R as Runner>::Sequence>]) -> Result<()> + 'a;

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("n_prompts", &self.prompts.len()).field("keep", &self.keep).finish_non_exhaustive()
    }
}

/// A prompt, its first token that is not shared, and the segments it goes on after.
type Waiting<S> = (usize, usize, Vec<Arc<S>>);

/// State of a run.
struct Walk<'a, 'v, R: Runner> {
    run: &'a Run<'a>,
    plan: Plan,
    children: Vec<Vec<usize>>,
    leaves: Vec<Vec<usize>>,
    /// Prompts waiting to be run together.
    waiting: Vec<Waiting<R::Segment>>,
    n_waiting: usize,
    visit: &'v mut Visit<'v, R>,
}

impl Run<'_> {
    /// Runs all prompts and hands them to `visit` in batches, in no fixed order.
    ///
    /// # Errors
    /// Those of [`Runner::extend`] and of the visitor; [`Error::Interrupted`].
    pub fn visit<R: Runner>(&self, runner: &mut R, visit: &mut Visit<'_, R>) -> Result<()> {
        let plan = Plan::new(self.prompts);
        let mut children = vec![Vec::new(); plan.nodes.len() + 1];
        for (i, node) in plan.nodes.iter().enumerate() {
            children[node.parent.map_or(0, |parent| parent + 1)].push(i);
        }
        let mut leaves = vec![Vec::new(); plan.nodes.len() + 1];
        for (prompt, node) in plan.last_nodes.iter().enumerate() {
            leaves[node.map_or(0, |node| node + 1)].push(prompt);
        }
        let mut walk = Walk { run: self, plan, children, leaves, waiting: Vec::new(), n_waiting: 0, visit };
        walk.node(None, &[], runner)?;
        walk.flush(runner)
    }
}

impl<R: Runner> Walk<'_, '_, R> {
    /// Runs everything after a node; `past` is the node's and its ancestors' segments.
    fn node(&mut self, node: Option<usize>, past: &[Arc<R::Segment>], runner: &mut R) -> Result<()> {
        let at = node.map_or(0, |node| node + 1);
        let end = self.plan.end(node);
        for prompt in std::mem::take(&mut self.leaves[at]) {
            let n_tokens = self.run.prompts[prompt].token_ids.len() - end + self.run.prompts[prompt].n_reserved;
            if self.n_waiting > 0 && self.n_waiting + n_tokens > self.run.batch_tokens {
                self.flush(runner)?;
            }
            self.waiting.push((prompt, end, past.to_vec()));
            self.n_waiting += n_tokens;
        }
        let children = std::mem::take(&mut self.children[at]);
        let mut rest = children.as_slice();
        while !rest.is_empty() {
            let mut n_tokens = 0;
            let n = rest.iter().take_while(|child| {
                n_tokens += self.plan.nodes[**child].end - self.plan.nodes[**child].start;
                n_tokens <= SEGMENT_BATCH
            });
            let (batch, after) = rest.split_at(n.count().max(1));
            rest = after;
            let mut sequences: Vec<R::Sequence> = batch.iter().map(|_| runner.sequence(past, Keep::All)).collect();
            let nodes = batch.iter().map(|child| &self.plan.nodes[*child]);
            let mut extensions: Vec<Extension<'_, R::Sequence>> = nodes
                .zip(&mut sequences)
                .map(|(node, sequence)| Extension {
                    sequence,
                    token_ids: &self.run.prompts[node.prompt].token_ids[node.start..node.end],
                })
                .collect();
            self.check()?;
            runner.extend(&mut extensions)?;
            for (child, sequence) in batch.iter().zip(sequences) {
                let past = runner.share(sequence);
                self.node(Some(*child), &past, runner)?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if (self.run.stopped)() { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn flush(&mut self, runner: &mut R) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.n_waiting = 0;
        if waiting.is_empty() {
            return Ok(());
        }
        self.check()?;
        let mut first_row = 0;
        let mut leaves = Vec::with_capacity(waiting.len());
        for (prompt, first_token, past) in waiting {
            let sequence = runner.sequence(&past, self.run.keep);
            leaves.push(Leaf { prompt, sequence, first_row, first_token });
            first_row += self.run.prompts[prompt].token_ids.len() - first_token;
        }
        let mut extensions: Vec<Extension<'_, R::Sequence>> = leaves
            .iter_mut()
            .map(|leaf| Extension {
                sequence: &mut leaf.sequence,
                token_ids: &self.run.prompts[leaf.prompt].token_ids[leaf.first_token..],
            })
            .collect();
        runner.extend(&mut extensions)?;
        (self.visit)(runner, &mut leaves)
    }
}
