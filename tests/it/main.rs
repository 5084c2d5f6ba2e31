//! Tests of the program as a whole: the binary, run as a user runs it, in folders of its own.

#[cfg(test)]
mod autoencoders;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cluster;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod corpora;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod durable_replies;
#[cfg(test)]
mod echo;
#[cfg(test)]
mod endpoint_faults;
#[cfg(test)]
mod exchange_formats;
#[cfg(test)]
mod fake_model;
#[cfg(test)]
mod fault_server;
#[cfg(test)]
mod flight;
#[cfg(test)]
mod flight_catalog;
#[cfg(test)]
mod history;
#[cfg(test)]
mod http_api;
#[cfg(test)]
mod http_imports;
#[cfg(test)]
mod http_scores;
#[cfg(test)]
mod hub;
#[cfg(test)]
mod incremental;
#[cfg(test)]
mod killed_calls;
#[cfg(test)]
mod language_models;
#[cfg(test)]
mod likeness;
#[cfg(test)]
mod llama_server;
#[cfg(test)]
mod local_engine;
#[cfg(test)]
mod local_models_cli;
#[cfg(test)]
mod maintain;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod models;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod pages_ahead;
#[cfg(test)]
mod pipeline_file;
#[cfg(test)]
mod python_page;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod s3;
#[cfg(test)]
mod s3_faults;
#[cfg(test)]
mod s3_schedule;
#[cfg(test)]
mod s3_server;
#[cfg(test)]
mod schedule;
#[cfg(test)]
mod search;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod split;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tabular;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod viewer;
#[cfg(test)]
mod webdriver;
#[cfg(test)]
mod workbench;
