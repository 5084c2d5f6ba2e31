mod corpus;
mod ranking;
mod rules;
mod trials;
