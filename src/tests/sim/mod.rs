//! Reactors on the simulated network: whole campaigns, and one fault at a time.

mod campaign;
mod dialling;
mod edges;
mod ending;
mod fairness;
mod threats;
mod timers;
