//! Transports on top of sockets.

mod cipher;
mod contract;
mod simulated;
mod sockets;
