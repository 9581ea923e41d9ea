//! Client sessions and a hub in one thread, without sockets: every interleaving is chosen.

mod commits;
mod golden;
mod loads;
mod pair;
mod refusals;
