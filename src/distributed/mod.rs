//! Past one machine: a scheduler and workers of Ballista that know the lake's functions and read its files.
//!
//! A client plans a query on the versions it sees and sends the plan with the lists of their files; the [`scheduler`] cuts it into
//! stages; each [`worker`] runs tasks of a stage, reading files by the stores that [`stores`] opens. Workers write shuffles to their own
//! disk and nothing into the lake: rows of a pipeline's stage come back to the process that commits them.

mod results;
pub mod scheduler;
pub mod stores;
pub mod worker;
