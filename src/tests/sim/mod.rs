//! Reactors on the simulated network: whole campaigns, and one fault at a time.

mod adopting;
mod campaign;
mod detaching;
mod dialing;
mod edges;
mod ending;
mod fairness;
mod framing;
mod inspecting;
mod limits;
mod parts;
mod threats;
mod timers;
