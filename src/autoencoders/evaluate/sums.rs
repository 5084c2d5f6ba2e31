//! Sums over tokens that say how well rows are reconstructed, in f64.

use super::super::rows::Metric;

/// A latent that fires on more than this share of the tokens is dense.
const DENSE: f64 = 0.1;

/// Sums over the tokens that count.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sums {
    pub(super) n_tokens: u64,
    /// ‖x − x̂‖².
    errors: f64,
    /// ‖x − μ‖².
    spread: f64,
    /// ‖x‖², ‖x̂‖² and ⟨x, x̂⟩.
    squares: f64,
    squares_of_reconstructions: f64,
    products: f64,
    /// 1 − ‖x − x̂‖² / ‖x − μ‖², over the tokens where that is defined.
    legacy: f64,
    n_legacy: u64,
    /// ‖x − x̂‖² / ‖x‖².
    relative: f64,
    n_relative: u64,
    /// Cosines of x and x̂.
    cosines: f64,
    n_cosines: u64,
    /// ‖x̂‖ / ‖x‖.
    ratios: f64,
    n_firings: u64,
    /// Of the firings' values.
    values: f64,
    /// Tokens that each latent fires on.
    fired: Vec<u64>,
}

impl Sums {
    pub(super) fn new(n_latents: usize) -> Self {
        Self {
            n_tokens: 0,
            errors: 0.0,
            spread: 0.0,
            squares: 0.0,
            squares_of_reconstructions: 0.0,
            products: 0.0,
            legacy: 0.0,
            n_legacy: 0,
            relative: 0.0,
            n_relative: 0,
            cosines: 0.0,
            n_cosines: 0,
            ratios: 0.0,
            n_firings: 0,
            values: 0.0,
            fired: vec![0; n_latents],
        }
    }

    /// Counts a token: its row, the reconstruction, the mean row, and what fires.
    pub(super) fn add_row(&mut self, row: &[f32], reconstruction: &[f32], mean: &[f32], (latents, values): (&[u32], &[f32])) {
        let (mut error, mut spread, mut square, mut of_reconstruction, mut product) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for ((x, y), m) in row.iter().zip(reconstruction).zip(mean) {
            let (x, y, m) = (f64::from(*x), f64::from(*y), f64::from(*m));
            error += (x - y) * (x - y);
            spread += (x - m) * (x - m);
            square += x * x;
            of_reconstruction += y * y;
            product += x * y;
        }
        self.n_tokens += 1;
        self.errors += error;
        self.spread += spread;
        self.squares += square;
        self.squares_of_reconstructions += of_reconstruction;
        self.products += product;
        if spread > 0.0 {
            self.legacy += 1.0 - error / spread;
            self.n_legacy += 1;
        }
        if square > 0.0 {
            self.relative += error / square;
            self.ratios += (of_reconstruction / square).sqrt();
            self.n_relative += 1;
        }
        if square > 0.0 && of_reconstruction > 0.0 {
            self.cosines += product / (square * of_reconstruction).sqrt();
            self.n_cosines += 1;
        }
        self.n_firings += latents.len() as u64;
        for (latent, value) in latents.iter().zip(values) {
            self.fired[*latent as usize] += 1;
            self.values += f64::from(value.abs());
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.n_tokens += other.n_tokens;
        self.errors += other.errors;
        self.spread += other.spread;
        self.squares += other.squares;
        self.squares_of_reconstructions += other.squares_of_reconstructions;
        self.products += other.products;
        self.legacy += other.legacy;
        self.n_legacy += other.n_legacy;
        self.relative += other.relative;
        self.n_relative += other.n_relative;
        self.cosines += other.cosines;
        self.n_cosines += other.n_cosines;
        self.ratios += other.ratios;
        self.n_firings += other.n_firings;
        self.values += other.values;
        self.fired.iter_mut().zip(&other.fired).for_each(|(all, one)| *all += one);
    }

    /// docs/sparse-autoencoders.md defines each.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        const NO_TOKENS: &str = "no token counts";
        let share = |sum: f64, of: f64, reason: &'static str| if of > 0.0 { Ok(sum / of) } else { Err(reason) };
        let n = self.n_tokens as f64;
        let per_token = |sum: f64| share(sum, n, NO_TOKENS);
        let unexplained = share(self.errors, self.spread, "all rows are equal");
        let n_latents = self.fired.len() as f64;
        let count = |keep: &dyn Fn(u64) -> bool| {
            let found = self.fired.iter().filter(|fired| keep(**fired)).count() as f64;
            if self.n_tokens > 0 { Ok(found / n_latents) } else { Err(NO_TOKENS) }
        };
        let metric = |metric: &'static str, value: Result<f64, &'static str>| Metric { metric, value };
        vec![
            metric("mse", per_token(self.errors)),
            metric("nmse", unexplained),
            metric("explained_variance", unexplained.map(|unexplained| 1.0 - unexplained)),
            metric("explained_variance_legacy", share(self.legacy, self.n_legacy as f64, "all rows are equal")),
            metric("error_over_square", share(self.relative, self.n_relative as f64, "all rows are 0")),
            metric("cosine_similarity", share(self.cosines, self.n_cosines as f64, "rows or reconstructions are 0")),
            metric("l2_ratio", share(self.ratios, self.n_relative as f64, "all rows are 0")),
            metric(
                "relative_reconstruction_bias",
                if self.products == 0.0 {
                    Err("rows and reconstructions are at right angles")
                } else {
                    Ok(self.squares_of_reconstructions / self.products)
                },
            ),
            metric("l0", per_token(self.n_firings as f64)),
            metric("l1", per_token(self.values)),
            metric("silent_share", count(&|fired| fired == 0)),
            metric("dense_share", count(&|fired| fired as f64 > DENSE * n)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(sums: &Sums, name: &str) -> Result<f64, &'static str> {
        sums.metrics().into_iter().find(|metric| metric.metric == name).unwrap().value
    }

    #[test]
    fn metrics_are_those_of_their_definitions() {
        let mut sums = Sums::new(4);
        let rows = [([3.0, 4.0], [3.0, 3.0]), ([1.0, 0.0], [0.0, 0.0])];
        let mean = [2.0, 2.0];
        sums.add_row(&rows[0].0, &rows[0].1, &mean, (&[0, 2], &[2.0, 1.0]));
        let mut other = Sums::new(4);
        other.add_row(&rows[1].0, &rows[1].1, &mean, (&[2], &[0.5]));
        sums.add(&other);
        for (name, expected) in [
            // Errors 1 and 1; spreads 1 + 4 and 1 + 4.
            ("mse", 1.0),
            ("nmse", 0.2),
            ("explained_variance", 0.8),
            ("explained_variance_legacy", 0.8),
            ("error_over_square", (1.0 / 25.0 + 1.0) / 2.0),
            ("cosine_similarity", 21.0 / (5.0 * 18.0_f64.sqrt())),
            ("l2_ratio", (18.0_f64.sqrt() / 5.0) / 2.0),
            ("relative_reconstruction_bias", 18.0 / 21.0),
            ("l0", 1.5),
            ("l1", 1.75),
            ("silent_share", 0.5),
            ("dense_share", 0.5),
        ] {
            let got = value(&sums, name).unwrap();
            assert!((got - expected).abs() < 1e-12, "{name}: {got}, expected {expected}");
        }
    }

    #[test]
    fn what_is_undefined_has_a_reason() {
        assert!(Sums::new(3).metrics().iter().all(|metric| metric.value.is_err()));
        let mut sums = Sums::new(1);
        sums.add_row(&[1.0], &[1.0], &[1.0], (&[], &[]));
        assert_eq!(value(&sums, "nmse"), Err("all rows are equal"));
        assert_eq!(value(&sums, "l0"), Ok(0.0));
    }
}
