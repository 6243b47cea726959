//! The sockets of the operating system.

mod held;
