//! The expected value of a distribution over numbers (specification §4.1).

/// What was read at one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbers {
    /// Expected value, on the scale that was asked for.
    pub(super) expected: f64,
    /// Probability that all numbers together have, 0..1.
    pub(super) mass: f64,
}

impl Numbers {
    /// Over pairs of a number and its natural log-probability; `None` when there is none (upstream says 0 there).
    ///
    /// The probabilities are divided by their sum: what a model would rather have said than a number does not enter.
    pub(super) fn read(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let (mut mass, mut weighted) = (0.0, 0.0);
        for (value, log_probability) in pairs {
            let probability = log_probability.exp();
            if probability.is_finite() {
                mass += probability;
                weighted += value * probability;
            }
        }
        (mass > 0.0).then(|| Self { expected: weighted / mass, mass: mass.min(1.0) })
    }

    /// Over the texts told at one place: those that are exactly a whole number of 0..=`max` count; only when there is none,
    /// those that are one but for whitespace about them.
    pub(super) fn of_texts(texts: &[(String, f64)], max: u32) -> Option<Self> {
        let number = |text: &str| {
            let number: u32 = text.parse().ok().filter(|number| *number <= max)?;
            // "+5" and "05" parse too.
            (number.to_string() == text).then_some(f64::from(number))
        };
        let exact = texts.iter().filter_map(|(text, lp)| Some((number(text)?, *lp)));
        Self::read(exact)
            .or_else(|| Self::read(texts.iter().filter_map(|(text, lp)| Some((number(text.trim())?, *lp)))))
    }
}
