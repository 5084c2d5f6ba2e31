//! What a caller does about an error: the exit status, and what a spent budget is told with.

use super::Error;
use super::engine::ours;

impl Error {
    /// The process's exit status: 2 for a command that can never work as given, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Argument { .. }
            | Self::HookPointUnknown { .. }
            | Self::NeuronOutOfRange { .. }
            | Self::QueryUnknown { .. }
            | Self::MethodUnknown { .. }
            | Self::MethodModel { .. }
            | Self::ApiKeyMissing { .. }
            | Self::PriceUnknown { .. }
            | Self::PipelineFile(_)
            | Self::SettingsChanged { .. } => 2,
            Self::Device(error) => error.exit_code(),
            Self::Exchange(fault) => fault.exit_code(),
            Self::Autoencoder(error) => error.exit_code(),
            Self::Search(error) if error.is_usage() => 2,
            Self::DataFusion(error) => ours(error).map_or(1, Self::exit_code),
            _ => 1,
        }
    }

    /// Whose fault it is, in one word, as metrics count faults.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Limit(_) => "limit",
            Self::BudgetReached { .. } => "budget",
            Self::Interrupted => "interrupted",
            Self::Internal { .. } => "internal",
            Self::Store { .. }
            | Self::LakeStore { .. }
            | Self::Delta(_)
            | Self::TableWrite { .. }
            | Self::Overtaken { .. } => "store",
            Self::CompletionFailed { .. } => "model",
            Self::DataFusion(error) => ours(error).map_or("query", Self::kind),
            other if other.exit_code() == 2 => "usage",
            _ => "data",
        }
    }

    /// Whether a budget stopped the work, however deep in a plan.
    pub fn is_budget_reached(&self) -> bool {
        match self {
            Self::BudgetReached { .. } => true,
            Self::DataFusion(error) => ours(error).is_some_and(Self::is_budget_reached),
            _ => false,
        }
    }

    /// The same fault with what is done put into its own words; other faults stay as they are.
    pub(crate) fn with_progress(self, progress: &str) -> Self {
        let reached = match &self {
            Self::BudgetReached { spent, budget, .. } => Some((spent.clone(), budget.clone())),
            Self::DataFusion(error) => ours(error).and_then(|error| match error {
                Self::BudgetReached { spent, budget, .. } => Some((spent.clone(), budget.clone())),
                _ => None,
            }),
            _ => None,
        };
        match reached {
            Some((spent, budget)) => Self::BudgetReached { spent, budget, done: progress.to_owned() },
            None => self,
        }
    }

    /// Our bug, in words.
    pub(crate) fn internal(reason: impl Into<String>) -> Self {
        Self::Internal { reason: reason.into() }
    }
}
