//! The admin endpoint: a second protocol on the same reactor, for operators, students and load testers.
//!
//! A client's bytes become a request in a callback ([`endpoint`]); between two turns it is answered ([`service`], [`routes`]). So an answer
//! may be about the whole reactor, and a client that is slow waits alone.

pub(crate) mod access;
pub(crate) mod endpoint;
pub(crate) mod holders;
pub(crate) mod http;
pub(crate) mod listen;
pub(crate) mod load;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod routes;
pub(crate) mod run;
pub(crate) mod samples;
pub(crate) mod served;
pub(crate) mod service;
pub(crate) mod views;
