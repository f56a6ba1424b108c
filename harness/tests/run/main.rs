//! The program as a person runs it: real processes, real sockets, the real reference server.

mod bench;
mod endings;
mod isolated;
mod refusals;
mod verdicts;
