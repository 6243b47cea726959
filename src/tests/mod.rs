//! Tests of the crate's parts from the inside.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conn;
mod messages;
mod net;
mod sim;
mod transport;
