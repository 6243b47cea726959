//! What the beasts share, and what is right in each of them: a beast shows its own mistake and takes the rest from here.
//!
//! ```text
//!   edges.rs, levels.rs    who is ready: mio and edges, or epoll and levels
//!        |                 doors.rs: what to do when nobody can be let in
//!        v
//!   connection.rs          what a connection does when it is ready: flush, read, answer; within a budget
//!        |                 outbox.rs: what is owed
//!        v
//!   frames.rs              bytes in, answers out
//!
//!   blocking.rs            a frame at a time, for those that wait for it
//! ```
//!
//! All of it together is sound, but for deadlines: it passes `frameloop check`. It is smaller than the library, and slower.

pub(crate) mod blocking;
pub(crate) mod connection;
pub(crate) mod doors;
pub(crate) mod edges;
pub(crate) mod frames;
pub(crate) mod levels;
pub(crate) mod outbox;
