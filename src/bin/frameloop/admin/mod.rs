//! The admin endpoint.

pub(crate) mod page;
