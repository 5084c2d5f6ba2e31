//! What statements may do in a session that others send them to.

use datafusion::execution::context::SessionContext;

/// What statements may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whatever the engine can.
    Full,
    /// Read the lake's tables and compute: no file, no table, no setting is touched.
    Reading,
}

/// Table functions that read files, write into the lake's folder, or run a model over a whole corpus.
const OF_FILES: [&str; 4] = ["read_corpus", "collect_activations", "firings", "encode"];

/// Functions that make a value of any length out of a number: one call could take more memory than a limit sees in time.
const OF_ANY_LENGTH: [&str; 7] = ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "generate_series", "range"];

impl Access {
    /// Takes away the functions that must not be called.
    pub(super) fn restrict(self, context: &SessionContext) {
        if self == Self::Full {
            return;
        }
        for name in OF_FILES {
            context.deregister_udtf(name);
        }
        // The table functions generate_series and range stay: they stream.
        for name in OF_ANY_LENGTH {
            context.deregister_udf(name);
        }
    }
}
