//! The distribution over the next token, and draws from it.

use crate::models::kernels::log_total::log_total;

/// Logits `[n_vocab]` with their normaliser.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    logits: &'a [f32],
    log_total: f64,
}

/// How a token is picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Share of the probability that is drawn from, 0..1: the fewest likeliest tokens that have it.
    pub top_p: f32,
}

impl<'a> Distribution<'a> {
    /// The distribution that logits stand for.
    pub fn new(logits: &'a [f32]) -> Self {
        let mut total = 0.0;
        log_total(logits, &mut total);
        Self { logits, log_total: total }
    }

    /// Natural log-probability of a token.
    pub fn log_probability(&self, token_id: u32) -> f64 {
        f64::from(self.logits[token_id as usize]) - self.log_total
    }

    /// The likeliest token; of equally likely ones the first.
    pub fn likeliest(&self) -> u32 {
        let mut best = 0;
        for (i, logit) in self.logits.iter().enumerate() {
            if *logit > self.logits[best] {
                best = i;
            }
        }
        best as u32
    }

    /// The `n` likeliest tokens with their natural log-probabilities, likeliest first.
    pub fn top(&self, n: usize) -> Vec<(u32, f64)> {
        let mut ids: Vec<u32> = (0..self.logits.len() as u32).collect();
        let order = |a: &u32, b: &u32| self.logits[*b as usize].total_cmp(&self.logits[*a as usize]).then(a.cmp(b));
        let n = n.min(ids.len());
        if n == 0 {
            return Vec::new();
        }
        ids.select_nth_unstable_by(n - 1, order);
        ids.truncate(n);
        ids.sort_unstable_by(order);
        ids.into_iter().map(|id| (id, self.log_probability(id))).collect()
    }

    /// Picks a token; `uniform` in 0..1 decides between those that may be drawn.
    ///
    /// Temperature divides the logits before the softmax, and top_p cuts the resulting distribution, the order in which
    /// llama.cpp and vLLM do it when no other rule is set (Holtzman et al. 2020 for top_p).
    pub fn pick(&self, sampling: Sampling, uniform: f64) -> u32 {
        if sampling.temperature <= 0.0 {
            return self.likeliest();
        }
        let scale = 1.0 / f64::from(sampling.temperature);
        let highest = f64::from(self.logits[self.likeliest() as usize]);
        let mut weights: Vec<(u32, f64)> = (0..)
            .zip(self.logits)
            .map(|(id, logit)| (id, ((f64::from(*logit) - highest) * scale).exp()))
            // A token under 1e-12 of the likeliest one's weight is never drawn in practice: not sorting it saves time.
            .filter(|(_, weight)| *weight > 1e-12)
            .collect();
        weights.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut kept = 0.0;
        let enough = f64::from(sampling.top_p.clamp(0.0, 1.0)) * total;
        let n = weights.iter().position(|(_, weight)| {
            kept += weight;
            kept >= enough
        });
        weights.truncate(n.map_or(weights.len(), |n| n + 1));
        let mut left = uniform * weights.iter().map(|(_, weight)| weight).sum::<f64>();
        for (id, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding can leave a rest after the last one.
        weights.last().map_or_else(|| self.likeliest(), |(id, _)| *id)
    }
}
